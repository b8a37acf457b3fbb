"""More of the script that attacks (`attacker.py`): the network, and ways around a list of hosts."""

import os
import socket
import struct
import urllib.request


def connect_to_the_server_by_ipv6(tcp6, **_):
    with socket.create_connection(("::1", tcp6), 2):
        return True


def ask_a_name_server(udp, **_):
    return _ask(udp)


def make_a_packet_socket(**_):
    socket.socket(17, socket.SOCK_RAW, 0x0300).close()
    return True


def steal_a_port(namespace, **_):
    """Listen where the machine's clients would come."""
    with socket.create_server(("", 0)) as mine:
        port = mine.getsockname()[1]
        with open("/proc/net/tcp") as file:
            listens = "%04X" % port in file.read()
    return port if listens and os.stat("/proc/self/ns/net").st_ino == namespace else None


# ------------------------------------------------------------------- the network, with a list
# Of these, the function may reach the host 127.0.0.1:`listed`; `elsewhere` is another one.


def reach_the_listed_host_with_a_list(listed, **_):
    """What is not an attack, so that what the others find means something."""
    return _ask_proxy("CONNECT 127.0.0.1:%d" % listed)


def connect_past_the_proxy_with_a_list(listed, **_):
    with socket.create_connection(("127.0.0.1", listed), 2):
        return True


def connect_past_the_proxy_by_ipv6_with_a_list(tcp6, **_):
    return connect_to_the_server_by_ipv6(tcp6)


def ask_a_name_server_with_a_list(udp, **_):
    return _ask(udp)


def make_a_raw_socket_with_a_list(**_):
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return True


def connect_by_fast_open_with_a_list(listed, **_):
    with socket.socket() as sock:
        sock.settimeout(2)
        sock.sendto(b"GET / HTTP/1.0\r\n\r\n", 0x20000000, ("127.0.0.1", listed))
        return bool(sock.recv(10)) or None


def ask_the_proxy_for_another_host_with_a_list(elsewhere, **_):
    return _ask_proxy("CONNECT 127.0.0.1:%d" % elsewhere)


def ask_the_proxy_for_another_port_with_a_list(listed, **_):
    return _ask_proxy("CONNECT 127.0.0.1:%d" % (listed - 1))


def ask_the_proxy_for_a_clouds_secrets_with_a_list(**_):
    return _ask_proxy("GET http://169.254.169.254/latest/meta-data/")


def ask_the_proxy_for_odd_numbers_with_a_list(elsewhere, **_):
    for host in ("2130706433", "0x7f000001", "127.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "0"):
        if _ask_proxy("CONNECT %s:%d" % (host, elsewhere)):
            return host
    return None


def let_a_listed_name_lead_home_with_a_list(elsewhere, **_):
    """The list has localhost:`elsewhere`, and not the address for which it stands."""
    return _ask_proxy("CONNECT localhost:%d" % elsewhere)


def smuggle_a_second_request_with_a_list(listed, elsewhere, **_):
    first = "GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: a\r\n\r\n" % listed
    said = _tell_proxy(first + "GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: b\r\n\r\n" % elsewhere)
    return True if b"hello from %d" % elsewhere in said else None


def follow_a_redirect_with_a_list(listed, elsewhere, **_):
    with urllib.request.urlopen("http://127.0.0.1:%d/redirect" % listed, timeout=5) as answer:
        return True if b"hello from %d" % elsewhere in answer.read() else None


def find_the_proxys_socket_with_a_list(**_):
    """Through another's loopback: it listens in no namespace but the function's own."""
    port = _proxy()[1]
    with open("/proc/%d/net/tcp" % os.getppid()) as file:
        lines = [line.split()[1] for line in file if ":%04X" % port in line.split()[1]]
    return lines if any(not line.startswith("0100007F") for line in lines) else None


def kill_the_proxy_with_a_list(**_):
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/cmdline" % name) as file:
                    if "engine.proxy" in file.read():
                        os.kill(int(name), 0)
                        return name
            except OSError:
                continue
    return None


def _ask(udp):
    """Ask for a name as a resolver would."""
    asked = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + b"\x07example\x03org\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        sock.sendto(asked, ("127.0.0.1", udp))
        return bool(sock.recv(512)) or None


def _proxy():
    host, _, port = os.environ["http_proxy"].rpartition("/")[2].partition(":")
    return host, int(port)


def _tell_proxy(text):
    with socket.create_connection(_proxy(), 5) as sock:
        sock.sendall(text.encode())
        said = b""
        while True:
            piece = sock.recv(65536)
            said += piece
            if not piece or said.startswith(b"HTTP/1.1 200 Connected"):
                return said


def _ask_proxy(line):
    return True if _tell_proxy(line + " HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200") else None
