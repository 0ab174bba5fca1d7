"""Where studies come from: each source ends in the inbox or in a folder, and then as any folder.

dicomweb     a DICOMweb server: QIDO-RS and WADO-RS; web_client: within which limits
dimse        a DIMSE node: C-FIND, then C-GET or C-MOVE; association: within which limits
listen       what a PACS pushes by C-STORE
fetch        what the two that are asked have in common: nothing twice, again after a failure
retry        when they are asked again; waiting: how long, and what is said meanwhile
refusals     what a peer's answers mean; taking: which files of a study are taken
tls          TLS, and where it may be done without
router       which of them a command means
"""
