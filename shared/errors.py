"""Every error a user can meet, in one tree: one sentence each, one exit code each.

Exit codes come in ranges per cause and are never reused:

====== ==================================================
range  cause
====== ==================================================
0      it worked
2      the command line itself was wrong
3-4    the machine: its disk, its permissions
10-19  configuration, a coordinator's home
20-29  images and labels that were given
30-39  a site's store
40-49  privacy and the site's policy
50-59  the federation
60-69  model versions and inference
70-79  digital patients
80-89  audit trails and passports
130    interrupted by the user
====== ==================================================

The tree, in the order of the exit codes::

    OsteofedError                                 1
        DiskFullError                             3
        NotPermittedError                         4
        ConfigError                              10
            ConfigValueError                     11
                BudgetInvalidError               41
            UnknownTaskError                     12
            PlaceholderSecretError               13
            HomeExistsError                      14
            HomeMissingError                     15
        InputMissingError                        20
        InputEmptyError                          21
        InputUnreadableError                     22
        SourceUnavailableError                   23
        SourceRefusedError                       24
        SeveralStudiesError                      25
        StoreMissingError                        30
        StoreSecretMismatchError                 31
        StoreExistsError                         32
        CohortTooSmallError                      33
        StoreOutdatedError                       34
        ModelNotKeptError                        35
        BudgetExceededError                      40
        PolicyRefusedError                       42
        FirewallRefusedError                     43
        TicketRefusedError                       44
        CodeNotApprovedError                     45
        ContractNotMetError                      46
        RunFailedError                           50
            QuorumError                          51
            RunPausedError                       54
        RuntimeUnavailableError                  52
        AggregationRefusedError                  53
        MemberUnknownError                       55
        NoChampionError                          60
        VersionMissingError                      61
        ModelIncompatibleError                   62
        RegistryUnavailableError                 63
        ReadersBusyError                         64
        SelfTestFailedError                      65
        ServiceRefusedError                      66
        PhantomError                             70
        ChainBrokenError                         80
        PassportInvalidError                     81
        IdentifierFoundError                     82
"""


class OsteofedError(Exception):
    """A failure that the user can understand and mend.

    The message is one sentence: what was found, where, what would be right and
    what to do.
    """

    exit_code = 1


class DiskFullError(OsteofedError):
    """There is no room on a disk that was to be written."""

    exit_code = 3


class NotPermittedError(OsteofedError):
    """A file or folder may not be read or written by whoever runs this."""

    exit_code = 4


class ConfigError(OsteofedError):
    """A settings file is missing, unreadable or says something that cannot be."""

    exit_code = 10


class ConfigValueError(ConfigError):
    """A settings file has an unknown key or a value out of range."""

    exit_code = 11


class UnknownTaskError(ConfigError):
    """A task was named that OsteoFed does not have."""

    exit_code = 12


class PlaceholderSecretError(ConfigError):
    """A secret is a placeholder, too short, or readable by others."""

    exit_code = 13


class HomeExistsError(ConfigError):
    """A coordinator's home is already there and would be overwritten."""

    exit_code = 14


class HomeMissingError(ConfigError):
    """A folder is not a coordinator's home."""

    exit_code = 15


class InputMissingError(OsteofedError):
    """A file or folder that was named does not exist."""

    exit_code = 20


class InputEmptyError(OsteofedError):
    """A folder was read and held nothing that could be used."""

    exit_code = 21


class InputUnreadableError(OsteofedError):
    """A file is damaged or not what its place says it is."""

    exit_code = 22


class SourceUnavailableError(OsteofedError):
    """A PACS does not answer, however often it was asked."""

    exit_code = 23


class SourceRefusedError(OsteofedError):
    """A PACS refuses: the credentials, the titles, the certificates or the query."""

    exit_code = 24


class SeveralStudiesError(OsteofedError):
    """Files of several studies came where one was expected."""

    exit_code = 25


class StoreMissingError(OsteofedError):
    """A folder is not a site, or its store has not been made."""

    exit_code = 30


class StoreSecretMismatchError(OsteofedError):
    """The store was made with another secret: its pseudonyms cannot be continued."""

    exit_code = 31


class StoreExistsError(OsteofedError):
    """A site is already there and would be overwritten."""

    exit_code = 32


class StoreOutdatedError(OsteofedError):
    """The site is older than what it has already said: a backup, or a second copy."""

    exit_code = 34


class ModelNotKeptError(OsteofedError):
    """The site lacks the part of a model that the coordinator did not send again."""

    exit_code = 35


class CohortTooSmallError(OsteofedError):
    """There are fewer patients than the site's policy or the task demands."""

    exit_code = 33


class BudgetExceededError(OsteofedError):
    """The step would spend more privacy than the hospital has left."""

    exit_code = 40


class BudgetInvalidError(ConfigValueError):
    """A privacy budget allows no training at all."""

    exit_code = 41


class PolicyRefusedError(OsteofedError):
    """The hospital's policy does not permit what was asked."""

    exit_code = 42


class FirewallRefusedError(OsteofedError):
    """A model that came in, or an update that would go out, is not what it must be."""

    exit_code = 43


class TicketRefusedError(OsteofedError):
    """A request is not signed by the coordinator whom the hospital knows."""

    exit_code = 44


class CodeNotApprovedError(OsteofedError):
    """A bundle of code came that the hospital's engineer has not approved."""

    exit_code = 45


class ContractNotMetError(OsteofedError):
    """The site's data do not meet what the consortium requires for a task."""

    exit_code = 46


class RunFailedError(OsteofedError):
    """A federated run ended without a model."""

    exit_code = 50


class QuorumError(RunFailedError):
    """Too few hospitals answered in time."""

    exit_code = 51


class RuntimeUnavailableError(OsteofedError):
    """Flower's runtime could not be started or was lost."""

    exit_code = 52


class AggregationRefusedError(OsteofedError):
    """An update that a hospital sent cannot be aggregated."""

    exit_code = 53


class RunPausedError(RunFailedError):
    """A run stopped in order and waits to be resumed."""

    exit_code = 54


class MemberUnknownError(OsteofedError):
    """A hospital was named, or answered, that is not admitted."""

    exit_code = 55


class NoChampionError(OsteofedError):
    """No version of a task has been promoted yet."""

    exit_code = 60


class VersionMissingError(OsteofedError):
    """A version or a weights file that was named does not exist."""

    exit_code = 61


class ModelIncompatibleError(OsteofedError):
    """Weights do not fit the network they were given to."""

    exit_code = 62


class RegistryUnavailableError(OsteofedError):
    """The model registry cannot be reached."""

    exit_code = 63


class ReadersBusyError(OsteofedError):
    """As many studies wait to be read as may."""

    exit_code = 64


class SelfTestFailedError(OsteofedError):
    """A version does not read its test study as it must."""

    exit_code = 65


class ServiceRefusedError(OsteofedError):
    """The service of a site did not answer a call.

    `status` is gRPC's name for it, `reason` a word of docs/grpc.md, empty where the line failed.
    """

    exit_code = 66

    def __init__(
        self, sentence: str, *, status: str = "", reason: str = "", request_id: str = ""
    ) -> None:
        super().__init__(sentence)
        self.status, self.reason, self.request_id = status, reason, request_id


class PhantomError(OsteofedError):
    """Digital patients were asked for that cannot be made."""

    exit_code = 70


class ChainBrokenError(OsteofedError):
    """An audit trail was edited, cut or reordered."""

    exit_code = 80


class PassportInvalidError(OsteofedError):
    """A version is not what its passport says."""

    exit_code = 81


class IdentifierFoundError(OsteofedError):
    """Something that the site stored or would send holds an identifier of a patient."""

    exit_code = 82
