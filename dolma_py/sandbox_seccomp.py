"""Which calls to the kernel a program in the sandbox may not make: a filter for bwrap's --seccomp, without a library.

Namespaces hide what is outside; this takes away what is not in a namespace (keys, vsock and other families of sockets), what can
hold memory that no process shows (System V segments, memfd, shared pages without a file, huge pages, the buffers of Internet
sockets: a loopback connection holds 36 MiB), and what has been the way out of namespaces before (mounts, nested
namespaces, bpf, io_uring, userfaultfd). A refused call gives EPERM, clone3 ENOSYS so that libc takes clone, a family of sockets
EAFNOSUPPORT. It lists what is refused, not what is allowed: a program of any language runs, and a call that is newer than the list
gets through. Classic BPF as of man 2 seccomp; numbers of the calls as of the kernel's unistd.h.
"""

from __future__ import annotations

import errno
import platform
import struct

# name -> (number on x86_64, number on aarch64); None where the machine has no such call
REFUSED: dict[str, tuple[int | None, int | None]] = {
    "acct": (163, 89), "add_key": (248, 217), "bpf": (321, 280), "chroot": (161, 51), "delete_module": (176, 106),
    "fanotify_init": (300, 262), "finit_module": (313, 273), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fsopen": (430, 430), "fspick": (433, 433), "init_module": (175, 105), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "io_uring_setup": (425, 425), "ioperm": (173, None), "iopl": (172, None),
    "kcmp": (312, 272), "kexec_file_load": (320, 294), "kexec_load": (246, 104), "keyctl": (250, 219),
    "lookup_dcookie": (212, 18), "memfd_create": (319, 279), "memfd_secret": (447, 447), "migrate_pages": (256, 238),
    "modify_ldt": (154, None), "mount": (165, 40), "mount_setattr": (442, 442), "move_mount": (429, 429),
    "move_pages": (279, 239), "mq_open": (240, 180), "msgget": (68, 186), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "open_tree": (428, 428), "perf_event_open": (298, 241), "personality": (135, 92),
    "pidfd_getfd": (438, 438), "pivot_root": (155, 41), "process_madvise": (440, 440), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "ptrace": (101, 117), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "reboot": (169, 142), "request_key": (249, 218), "semget": (64, 190), "setns": (308, 268), "shmget": (29, 194),
    "swapoff": (168, 225), "swapon": (167, 224), "syslog": (103, 116), "umount2": (166, 39), "unshare": (272, 97),
    "uselib": (134, None), "userfaultfd": (323, 282), "vmsplice": (278, 75),
}  # fmt: skip
LOOKED_INTO: dict[str, tuple[int, int]] = {
    "clone": (56, 220), "clone3": (435, 435), "ioctl": (16, 29), "mmap": (9, 222), "socket": (41, 198), "socketpair": (53, 199),
}  # fmt: skip

# linux/audit.h: machine of ELF, 64 bits, little-endian
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32_CALLS = 0x40000000  # x86_64 has a second table of the same calls from here on
_NEW_NAMESPACES = 0x7E020080  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME
_AF_UNIX = 1
_SHARED, _WITHOUT_A_FILE, _HUGE_PAGES = 0x01, 0x20, 0x40000  # linux/mman.h: MAP_SHARED, MAP_ANONYMOUS, MAP_HUGETLB
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX type into the terminal

# linux/bpf_common.h and linux/seccomp.h
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
# offsets in struct seccomp_data; of arguments the low half
_CALL, _MACHINE, _FIRST, _SECOND, _FOURTH = 0, 4, 16, 24, 40


def build_filter(machine: str = "") -> bytes:
    """The filter as struct sock_filter, eight bytes an instruction; empty on a machine whose calls are not known here."""
    machine = machine or platform.machine()
    if machine not in _MACHINES:
        return b""
    column, audit = _MACHINES[machine]
    steps = [(_LOAD, 0, 0, _MACHINE), (_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _CALL)]
    if machine == "x86_64":
        steps += [(_AT_LEAST, 0, 1, _X32_CALLS), _refuse(errno.ENOSYS)]
    for numbers in REFUSED.values():
        number = numbers[column]
        if number is not None:
            steps += [(_EQUAL, 0, 1, number), _refuse(errno.EPERM)]
    number_of = {name: numbers[column] for name, numbers in LOOKED_INTO.items()}
    steps += [(_EQUAL, 0, 1, number_of["clone3"]), _refuse(errno.ENOSYS)]
    steps += [
        (_EQUAL, 0, 4, number_of["clone"]), (_LOAD, 0, 0, _FIRST),
        (_ANY_BIT, 0, 1, _NEW_NAMESPACES), _refuse(errno.EPERM), (_RETURN, 0, 0, _ALLOW),
        (_EQUAL, 1, 0, number_of["socket"]), (_EQUAL, 0, 4, number_of["socketpair"]), (_LOAD, 0, 0, _FIRST),
        (_EQUAL, 0, 1, _AF_UNIX), (_RETURN, 0, 0, _ALLOW), _refuse(errno.EAFNOSUPPORT),
        (_EQUAL, 0, 6, number_of["mmap"]), (_LOAD, 0, 0, _FOURTH), (_ANY_BIT, 2, 0, _HUGE_PAGES),
        (_ANY_BIT, 0, 2, _WITHOUT_A_FILE), (_ANY_BIT, 0, 1, _SHARED), _refuse(errno.EPERM), (_RETURN, 0, 0, _ALLOW),
        (_EQUAL, 0, 5, number_of["ioctl"]), (_LOAD, 0, 0, _SECOND),
        (_EQUAL, 1, 0, _TERMINAL_INPUT[0]), (_EQUAL, 0, 1, _TERMINAL_INPUT[1]), _refuse(errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ALLOW),
    ]  # fmt: skip
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def _refuse(number: int) -> tuple[int, int, int, int]:
    return _RETURN, 0, 0, _ERRNO | number
