"""Named bytes on a disk.

The few operations that a store needs, the local file system, and which process is still alive. Start with
`backend`, the interface that another kind of storage has to provide.
"""
