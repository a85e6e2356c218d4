"""The child's whole world: a branch's code and model, answering frames on one descriptor.

It imports nothing else of ours and is started by path (`python -P …/runner/__main__.py FD`), under
the private package name `_gateway_runner`, so that a branch's `import channel`, `import rows` or
`import gateway` finds the branch's own or nothing.

Messages on the channel are u32 length and payload, big-endian; the first byte is the kind:

    parent -> child   L  JSON {root, model, strict_columns, redact, withhold, accelerate, memory,
                               formats, skops_types, lock, strict_versions, confinement}
                      W  JSON {modules}                before L, to a spare: import these
                      P  u32 n, n x u32 length, n x f64 deadline, then n JSON arrays of instances
    child -> parent   H  JSON {pid, python}                           at once
                      R  JSON {columns, classes, kind, versions,      loaded
                               together, accelerated, containment, modules, saved_with,
                               mismatch}
                      W  JSON {broken}                                imported
                      C  JSON {reason}                 not loaded: a cold worker must do it
                      F  JSON {type, message, traceback}              not loaded
                      A  n x (u8 status, u32 ignored, 3 x u32 length), then n x 3 texts
                      G  JSON {level, logger, message}                a log record, at any time
                      X  JSON {what, times}            tried what is not allowed, at any time

A deadline is a time of CLOCK_MONOTONIC, which is one for all processes; the statuses of an answer
are those of `frames`.
"""
