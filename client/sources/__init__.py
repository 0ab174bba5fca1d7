"""Where studies come from: each source ends in the inbox or in a folder, and then as any folder.

archive  a ZIP file, unpacked by number, never by name
web      a DICOMweb server: QIDO-RS and WADO-RS
peer     a DIMSE node: C-FIND, then C-GET or C-MOVE
listen   what a PACS pushes by C-STORE
fetch    what the two that are asked have in common: nothing twice, again after a failure
secured  TLS, and where it may be done without
take     which of them a command means
"""
