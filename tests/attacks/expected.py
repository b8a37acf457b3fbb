"""What comes of every attack on every rung: the table that the docs show.

X: it succeeds. ·: it fails.
"""

from __future__ import annotations

COLUMNS = (
    ("user", "none"),
    ("user", "basic"),
    ("user", "confined"),
    ("user", "bwrap"),
    ("root", "none"),
    ("root", "basic"),
    ("root", "confined"),
    ("root", "bwrap"),
)
"""(as whom the server runs, rung)."""

# one letter for each column
EXPECTED = {
    "read_store": "XX·· ····",
    "read_key": "XX·· ····",
    "read_others_script": "XX·· ····",
    "write_others_script": "XX·· ····",
    "open_the_store_to_all": "XX·· ····",
    "read_public_file": "XX·· XX··",
    "read_other_owners_file": "XX·· ····",
    "write_other_owners_folder": "XX·· ····",
    "write_other_workers_folder": "XX·· XX··",
    "write_site_packages": "XX·· ····",
    "poison_the_runtime": "XX·· ····",
    "write_tmp": "XX·· XX··",
    "write_var_tmp": "XX·· XX··",
    "write_shared_memory": "XX·· XXX·",
    "use_an_inherited_descriptor": "···· ····",
    "see_the_server": "XX·· XX··",
    "read_the_servers_environment": "XX·· ····",
    "open_the_servers_memory": "XX·· ····",
    "read_the_servers_memory": "XX·· ····",
    "trace_the_server": "XX·· ····",
    "signal_the_server": "XX·· ····",
    "limit_the_server": "XX·· ····",
    "slow_the_server": "XXX· ····",
    "signal_the_zygote": "XX·· XX··",
    "open_the_zygotes_memory": "XX·· XX··",
    "trace_the_zygote": "XX·· XX··",
    "leave_a_daemon": "···· ····",
    "leave_a_daemon_and_kill_the_zygote": "XX·· ····",
    "connect_to_the_server": "XX·· XX··",
    "send_to_the_server": "XX·· XX··",
    "connect_to_a_path": "XX·· XX··",
    "connect_to_an_abstract_name": "XX·· XX··",
    "make_a_vsock": "XX·· XX··",
    "make_a_raw_socket": "···· ····",
    "connect_to_the_server_by_ipv6": "XX·· XX··",
    "ask_a_name_server": "XX·· XX··",
    "make_a_packet_socket": "···· ····",
    "steal_a_port": "XX·· XX··",
    "reach_the_listed_host_with_a_list": "···X ···X",
    "connect_past_the_proxy_with_a_list": "···· ····",
    "connect_past_the_proxy_by_ipv6_with_a_list": "···· ····",
    "ask_a_name_server_with_a_list": "···· ····",
    "make_a_raw_socket_with_a_list": "···· ····",
    "connect_by_fast_open_with_a_list": "···· ····",
    "ask_the_proxy_for_another_host_with_a_list": "···· ····",
    "ask_the_proxy_for_another_port_with_a_list": "···· ····",
    "ask_the_proxy_for_a_clouds_secrets_with_a_list": "···· ····",
    "ask_the_proxy_for_odd_numbers_with_a_list": "···· ····",
    "let_a_listed_name_lead_home_with_a_list": "···· ····",
    "smuggle_a_second_request_with_a_list": "···· ····",
    "follow_a_redirect_with_a_list": "···· ····",
    "find_the_proxys_socket_with_a_list": "···· ····",
    "kill_the_proxy_with_a_list": "···· ····",
    "reach_io_uring": "XX·· XX··",
    "reach_userfaultfd": "XX·· XX··",
    "reach_keyctl": "XX·· XX··",
    "make_a_user_namespace": "XX·· XX··",
    "become_root": "···· ····",
    "fork_bomb": "XXX· ····",
    "take_memory": "···· ····",
    "take_shared_memory": "···· ····",
    "take_memory_in_children": "···· ····",
    "write_a_large_file": "···· ····",
    "write_many_files": "···· ····",
    "open_many_files": "···· ····",
}


def outcome(attack: str, who: str, rung: str) -> str:
    """Return X or ·."""
    return EXPECTED[attack].replace(" ", "")[COLUMNS.index((who, rung))]
