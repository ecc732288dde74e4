#!/usr/bin/env python3
"""hex_corpus.py OUT FOLDER...: the bytes of every *.hex file of the folders that exist, as the corpus of a fuzz target."""
import os
import sys

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
for folder in filter(os.path.isdir, sys.argv[2:]):
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".hex"):
            continue
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            text = "".join(line for line in file if not line.startswith("#"))
        with open(os.path.join(out, name[:-4]), "wb") as file:
            file.write(bytes.fromhex("".join(text.split())))
