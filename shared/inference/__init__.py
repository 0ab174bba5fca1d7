"""From a study and the champions to findings, a report and files."""
