"""The command `spatialprobe`: all stages behind one name, completion for shells, and a check of the installation.

Start reading in `__main__`; what each stage's commands do is in `<stage>/__main__.py`.
"""
