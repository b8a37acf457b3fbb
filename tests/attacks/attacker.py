"""The script that attacks: run in a worker, standard library alone.

`attack(name, **victims)` returns how the attack succeeded, or None; an OSError is a failure. What
succeeds does no harm: signals are number 0, writes go to files made for it, bombs have an end.
"""

import ctypes
import os
import resource
import socket
import struct
import subprocess
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
EPERM, ENOSYS = 1, 38
MARK = b"attacked"


def attack(name, **victims):
    planted = name.removesuffix("_at_the_start")
    return globals()[name](**victims) if planted == name else _at_the_start(planted)


def _at_the_start(name):
    """Say what came of an attack that a file of a package has made when the interpreter started."""
    found, error = sys.modules["planted"].found[name]
    if error:
        raise OSError(error)
    return found


def _reach(number, *args):
    """Make a system call with senseless arguments; it was reached unless it was refused."""
    LIBC.syscall(ctypes.c_long(number), *map(ctypes.c_long, args))
    return None if ctypes.get_errno() in (EPERM, ENOSYS) else os.strerror(ctypes.get_errno())


def _read(path):
    with open(path, "rb") as file:
        return len(file.read(100)) > 0 or None


def _append(path):
    with open(path, "ab") as file:
        file.write(MARK)
    return True


def _make(folder, mark):
    return _append(os.path.join(folder, mark))


# -------------------------------------------------------------------------------------------- files


def read_store(data, **_):
    return _read(os.path.join(data, "fanfold.db"))


def read_key(data, **_):
    return _read(os.path.join(data, "key"))


def read_others_script(data, **_):
    return _read(os.path.join(data, "scripts", "theirs.py"))


def write_others_script(data, **_):
    return _append(os.path.join(data, "scripts", "theirs.py"))


def open_the_store_to_all(data, **_):
    os.chmod(os.path.join(data, "fanfold.db"), 0o666)
    return True


def read_public_file(public, **_):
    return _read(public)


def read_other_owners_file(other, **_):
    return _read(other)


def write_other_owners_folder(other, **_):
    return _make(os.path.dirname(other), "planted")


def write_other_workers_folder(**_):
    here = os.getcwd()
    above = os.path.dirname(here)
    for name in os.listdir(above):
        if name.startswith("w") and name.split(".")[0] != os.path.basename(here):
            return _make(os.path.join(above, name), "planted")
    raise AssertionError("there is no other worker")


def write_site_packages(prefix, **_):
    return _make(os.path.join(prefix, "lib"), "planted.py")


def poison_the_runtime(bundle, **_):
    os.close(os.open(bundle, os.O_RDWR))
    return True


def write_tmp(mark, **_):
    return _make("/tmp", mark)


def write_var_tmp(mark, **_):
    return _make("/var/tmp", mark)


def write_shared_memory(mark, **_):
    return _make("/dev/shm", mark)


def use_an_inherited_descriptor(data, public, **_):
    wanted = (data, os.path.dirname(public))
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + number)
        except OSError:
            continue
        if target.startswith(wanted):
            return target
    return None


# ---------------------------------------------------------------------------------------- processes


def see_the_server(word, **_):
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open("/proc/%s/cmdline" % name) as file:
                    if word in file.read():
                        return name
            except OSError:
                continue
    return None


def read_the_servers_environment(server, **_):
    return _read("/proc/%d/environ" % server)


def open_the_servers_memory(server, **_):
    os.close(os.open("/proc/%d/mem" % server, os.O_RDWR))
    return True


def read_the_servers_memory(server, **_):
    piece = ctypes.create_string_buffer(8)
    local = struct.pack("PN", ctypes.addressof(piece), 8)
    remote = struct.pack("PN", 0, 8)
    LIBC.process_vm_readv(server, local, 1, remote, 1, 0)
    return True if ctypes.get_errno() == 14 else None  # EFAULT: it has looked


def trace_the_server(server, **_):
    seize, detach = 0x4206, 17
    if LIBC.ptrace(seize, server, None, None) == 0:
        LIBC.ptrace(detach, server, None, None)
        return True
    return None


def signal_the_server(server, **_):
    os.kill(server, 0)
    return True


def limit_the_server(server, **_):
    kind = resource.RLIMIT_CORE
    resource.prlimit(server, kind, resource.prlimit(server, kind))
    return True


def slow_the_server(server, **_):
    os.setpriority(os.PRIO_PROCESS, server, os.getpriority(os.PRIO_PROCESS, server))
    return True


def signal_the_zygote(**_):
    os.kill(os.getppid(), 0)
    return True


def open_the_zygotes_memory(**_):
    os.close(os.open("/proc/%d/mem" % os.getppid(), os.O_RDWR))
    return True


def trace_the_zygote(**_):
    return trace_the_server(os.getppid())


def leave_a_daemon(mark, **_):
    _daemon(mark, os.environ)
    return "left"


def leave_a_daemon_and_kill_the_zygote(mark, **_):
    _daemon(mark, {})
    os.kill(os.getppid(), 9)
    time.sleep(5)


def _daemon(mark, environ):
    """Start a process that nobody waits for; return when it is there."""
    there, coming = os.pipe()
    if os.fork():
        os.close(coming)
        os.read(there, 1)  # ends when the program is executed
        return
    os.setsid()
    LIBC.prctl(1, 0, 0, 0, 0)
    if os.fork():
        os._exit(0)
    LIBC.prctl(1, 0, 0, 0, 0)
    code = "import time; time.sleep(40)"
    os.execve(sys.executable, [sys.executable, "-S", "-c", code, mark], dict(environ))


# ------------------------------------------------------------------------------------------ network


def connect_to_the_server(tcp, **_):
    with socket.create_connection(("127.0.0.1", tcp), 2):
        return True


def send_to_the_server(udp, **_):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        sock.sendto(b"ping", ("127.0.0.1", udp))
        return bool(sock.recv(10)) or None


def connect_to_a_path(unix, **_):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(unix)
        return True


def connect_to_an_abstract_name(abstract, **_):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0" + abstract)
        return True


def make_a_vsock(**_):
    socket.socket(40, socket.SOCK_STREAM).close()
    return True


def make_a_raw_socket(**_):
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return True


# --------------------------------------------------------------------------------------- the kernel


def reach_io_uring(**_):
    return _reach(425, 0, 0)


def reach_userfaultfd(**_):
    return _reach({"x86_64": 323, "aarch64": 282}[os.uname().machine], -1)


def reach_keyctl(**_):
    return _reach({"x86_64": 250, "aarch64": 219}[os.uname().machine], 0, -3, 0)


def reach_bpf(**_):
    return _reach({"x86_64": 321, "aarch64": 280}[os.uname().machine], 99)


def reach_perf(**_):
    return _reach({"x86_64": 298, "aarch64": 241}[os.uname().machine], 0)


def open_a_file_system(**_):
    return _reach(430, 0, 0)


def clone_a_mount(**_):
    return _reach(428, -100, 0, 1)


def change_a_mount(**_):
    return _reach(442, -1, 0, 0, 0, 0)


def clone_with_a_new_namespace(**_):
    return _reach(435, 0, 0)


def execute_from_memory(**_):
    """It may be executed, and keeps the wall: what counts is what it can do then."""
    code = "import ctypes; print(ctypes.CDLL(None).unshare(0x10000000))"
    held = os.memfd_create("program", 0)
    with open(os.path.realpath(sys.executable), "rb") as file:
        os.write(held, file.read())
    done = subprocess.run(
        ["/proc/self/fd/%d" % held, "-I", "-S", "-c", code],
        capture_output=True,
        pass_fds=(held,),
        env={"PYTHONHOME": sys.base_prefix},
        check=False,
    )
    return True if done.stdout.strip() == b"0" else None


def become_real_time(**_):
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return True


def escape_the_oom_killer(**_):
    with open("/proc/self/oom_score_adj") as file:
        now = int(file.read())
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(now - 100))
    return True


def offer_the_server_to_the_oom_killer(server, **_):
    with open("/proc/%d/oom_score_adj" % server) as file:
        now = file.read()
    with open("/proc/%d/oom_score_adj" % server, "w") as file:
        file.write(now)
    return True


def dump_core(**_):
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
    return True


def leave_shared_memory_of_system_v(**_):
    """A segment outlives who has made it, and is nobody's memory then; this one is removed."""
    made = LIBC.shmget(0, 4096, 0o1600)
    if made < 0:
        return None
    LIBC.shmctl(made, 0, None)
    return True


def reach_semaphores_of_system_v(**_):
    return _reach({"x86_64": 64, "aarch64": 190}[os.uname().machine], 1, -1, 0)


def reach_messages_of_system_v(**_):
    return _reach({"x86_64": 68, "aarch64": 186}[os.uname().machine], 1, 0)


def reach_message_queues(**_):
    return _reach({"x86_64": 240, "aarch64": 180}[os.uname().machine], 0, 0, 0, 0)


def make_a_user_namespace(**_):
    if os.fork() == 0:
        os._exit(0 if LIBC.unshare(0x10000000) == 0 else 1)
    return True if os.wait()[1] == 0 else None


def become_root(setuid, **_):
    done = subprocess.run([setuid, "-u"], stdout=subprocess.PIPE, check=False)
    return True if done.stdout.strip() == b"0" and os.getuid() else None
