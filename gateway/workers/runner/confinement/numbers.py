"""System calls by name, and their numbers on the two architectures that are known here.

A call that only one of them has is None on the other.
"""

from __future__ import annotations

from typing import NamedTuple

#: The newest call that is known, the same everywhere: what comes after it may do anything.
NEWEST = 462


class Machine(NamedTuple):
    """How the kernel tells calls of this architecture, and from where on they are another's."""

    audit: int
    foreign: int | None


MACHINES = {"x86_64": Machine(0xC000003E, 0x40000000), "aarch64": Machine(0xC00000B7, None)}

_TABLE = """
    accept 43 202           accept4 288 242         acct 163 89             add_key 248 217
    bind 49 200             bpf 321 280             chmod 90 -              chown 92 -
    chroot 161 51           clone 56 220            clone3 435 435          connect 42 203
    creat 85 -              delete_module 176 106   execve 59 221           execveat 322 281
    fanotify_init 300 262   fchmod 91 52            fchmodat 268 53         fchmodat2 452 452
    fchown 93 55            fchownat 260 54         finit_module 313 273    fork 57 -
    fremovexattr 199 16     fsconfig 431 431        fsetxattr 190 7         fsmount 432 432
    fsopen 430 430          fspick 433 433          futimesat 261 -         init_module 175 105
    io_uring_enter 426 426  io_uring_register 427 427                       io_uring_setup 425 425
    ioctl 16 29             ioperm 173 -            iopl 172 -              ioprio_set 251 30
    kcmp 312 272            kexec_file_load 320 294 kexec_load 246 104      keyctl 250 219
    kill 62 129             lchown 94 -             listen 50 201           lremovexattr 198 15
    lsetxattr 189 6         migrate_pages 256 238   modify_ldt 154 -        mount 165 40
    mount_setattr 442 442   move_mount 429 429      move_pages 279 239      mq_open 240 180
    msgctl 71 187           msgget 68 186           msgrcv 70 188           msgsnd 69 189
    open 2 -                open_by_handle_at 304 265                       open_tree 428 428
    openat 257 56           openat2 437 437         perf_event_open 298 241 pidfd_getfd 438 438
    pidfd_open 434 434      pidfd_send_signal 424 424                       pivot_root 155 41
    prctl 157 167           prlimit64 302 261       process_madvise 440 440 process_mrelease 448 448
    process_vm_readv 310 270                        process_vm_writev 311 271
    ptrace 101 117          quotactl 179 60         reboot 169 142          removexattr 197 14
    request_key 249 218     rt_sigqueueinfo 129 138 rt_tgsigqueueinfo 297 240
    sched_setaffinity 203 122                       sched_setattr 314 274   sched_setparam 142 118
    sched_setscheduler 144 119                      semctl 66 191           semget 64 190
    semop 65 193            semtimedop 220 192      sendto 44 206           setns 308 268
    setpriority 141 140     setxattr 188 5          shmat 30 196            shmctl 31 195
    shmget 29 194           socket 41 198           socketpair 53 199       swapoff 168 225
    swapon 167 224          syslog 103 116          tgkill 234 131          tkill 200 130
    truncate 76 45          umount2 166 39          unshare 272 97          userfaultfd 323 282
    utime 132 -             utimensat 280 88        utimes 235 -            vfork 58 -
    vhangup 153 58
"""
_WORDS = _TABLE.split()


def numbers(machine: str) -> dict[str, int | None]:
    """The number of every call named here on this architecture."""
    at = 1 + list(MACHINES).index(machine)
    return {
        _WORDS[i]: None if _WORDS[i + at] == "-" else int(_WORDS[i + at])
        for i in range(0, len(_WORDS), 3)
    }
