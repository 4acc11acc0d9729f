"""How fast tillwatch is, each figure beside its target, measured in one run: `./run bench`."""
