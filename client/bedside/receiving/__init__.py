"""What comes, from the first byte until its study is complete.

node        the DICOM node: C-ECHO and C-STORE; watching: a folder
arrivals    what becomes of one instance; wanted: by which rules
attending   looks when studies are complete; archive: what the PACS says of them
"""
