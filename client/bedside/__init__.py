"""The bedside node: takes a study in, answers it, and brings the answer back where images are.

work         the work list: how each study stands, and where its files are
receiving    what comes: by C-STORE or in a folder, what of it is wanted, when it is complete
answering    complete studies are read by the champions
delivering   results go to their destinations by C-STORE or STOW-RS
serving      all of it together; door: as one of the doors of `osteofed serve`
"""
