"""Listens, and is busy with something else for ever."""

import lab

listener = lab.listen(backlog=16)
lab.stay()
