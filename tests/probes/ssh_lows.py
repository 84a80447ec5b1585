"""Lows for `client: ssh` that must reach neither the master nor a program: what salt-api's vulnerabilities by ssh had in common, and whatever else a low can carry."""

from __future__ import annotations

from typing import Any

SSH: dict[str, Any] = {"client": "ssh", "tgt": "*", "fun": "test.ping"}
# What the attacks of salt-api's six vulnerabilities by ssh put into a low.
SHAPES: dict[str, dict[str, Any]] = {
    "options": {"ssh_options": ["ProxyCommand=id"]},
    "a key's file": {"ssh_priv": "/dev/null|id"},
    "a user and a port": {"ssh_user": "root;id", "ssh_port": "22;id"},
    "a hook": {"ssh_pre_hook": "id"},
    "a roster": {"roster": "cache", "roster_file": "/dev/null"},
    "places of rosters": {"rosters": ["/tmp"]},
    "a raw shell": {"raw_shell": True, "arg": ["id"]},
    "what thin takes with it": {"extra_mods": "x';id;'", "python2_bin": "id", "python3_bin": "id"},
    "more of what thin takes": {"thin_extra_mods": "x';id;'", "min_extra_mods": "x';id;'"},
    "files of the master's": {"extra_filerefs": "/etc/shadow"},
    "a file of the master's": {"fun": "state.apply", "kwarg": {"extra_filerefs": "/etc/shadow"}},
    "an option for a function": {"fun": "--raw"},
    "a shell's words for a function": {"fun": "cmd.run;id"},
    "an option for a target": {"tgt": "-oProxyCommand=id"},
    "a shell's words for a target": {"tgt": "$(id)"},
    "two lines": {"tgt": "edge-1\nid"},
    "a user in the target": {"tgt": "root@edge-1"},
    "an option for a timeout": {"timeout": "5 -oProxyCommand=id"},
    "a type of target": {"tgt_type": "range"},
    "a function of the master's": {"fun": "publish.runner", "arg": ["test.arg"]},
    "a list of functions": {"fun": ["test.ping", "cmd.run"], "arg": [[], ["id"]]},
    "other letters": {"client": "SSH"},
    "white space": {"client": "ssh "},
    "a list": {"client": ["ssh"]},
    "the method of Salt's": {"client": "ssh_sync"},
    "an asynchronous one": {"client": "ssh_async"},
    "a name with an underscore": {"client": "_ssh"},
}
UNKNOWN = {"a word for a backend": {"eauth": "x"}, "a word for a token": {"token": "x"}, "a token that is none": {"token": "0" * 64}}

# Each with a value that would do something, by whatever shell, template or file it came to. TRACE: a file that is not there.
COMMAND = "$(touch TRACE);`touch TRACE`|touch TRACE"
FIELDS = """
    extra_filerefs extra_mods host ignore_host_keys jid known_hosts_file min_extra_mods mine no_host_keys python2_bin python3_bin rand_thin_dir raw_shell
    refresh_cache regen_thin roster roster_file rosters saltfile ssh_askpass ssh_control_path ssh_identities_only ssh_key_deploy ssh_log_file ssh_max_procs
    ssh_options ssh_passwd ssh_port ssh_pre_flight ssh_pre_hook ssh_priv ssh_priv_passwd ssh_remote_port_forwards ssh_run_pre_flight ssh_scan_ports
    ssh_scan_timeout ssh_sudo ssh_sudo_user ssh_timeout ssh_update_roster ssh_user ssh_wipe static thin_extra_mods verbose
""".split()
GLOBS: list[Any] = [
    *("edge-1;touch TRACE", "edge-1|id", "edge-1&&id", "edge-1>TRACE", "$(touch TRACE)", "`touch TRACE`", "$IFS", "edge 1", "edge-1\n", "edge-1\0", "\tedge-1"),
    *("'", '"', "\\", "-w", "--", "@edge-1", "root@edge-1", "../edge-1", "/etc/passwd", "~root", "{edge-1,x}", "edge-1#", "edge-1%0aid", "", "e" * 1025),
    *(1, True, {"edge-1": 1}, ["edge-1"], [["edge-1"]]),
]
LISTS: list[Any] = ["edge-1,-oProxyCommand=id", "edge-1,$(id)", "edge-1,,", "edge-1, edge-2", ["edge-1", "root@x"], ["edge-1", ["x"]], ["edge-*"], [], {}]
PATTERNS: list[Any] = ["edge-1\n", "root@.*", "edge-1\\", "-oProxyCommand=.*", "", ["edge-1"]]
GROUPS: list[Any] = ["../edge", "nobody's", "edge;id", "-edge", ["edge"]]
TYPES: list[Any] = ["compound", "grain", "grain_pcre", "ipcidr", "pillar", "range", "GLOB", "glob;id", 5, ["glob"], {"glob": 1}]
TARGETS: list[dict[str, Any]] = [
    *({"tgt": tgt} for tgt in GLOBS),
    *({"tgt": tgt, "tgt_type": "list"} for tgt in LISTS),
    *({"tgt": tgt, "tgt_type": "pcre"} for tgt in PATTERNS),
    *({"tgt": tgt, "tgt_type": "nodegroup"} for tgt in GROUPS),
    *({"tgt_type": tgt_type} for tgt_type in TYPES),
    *({"timeout": timeout} for timeout in ("5;id", "5 -oProxyCommand=id", [5], {"5": 5}, "nan")),
]
FUNCTIONS: list[Any] = [
    *("cmd.run;id", "cmd.run\n", "cmd.run id", "-w", "--raw", "../../bin/id", "cmd..run", ".run", "cmd.", "$(id)", "", 5, {"cmd.run": 1}, ["cmd.run"]),
    *("cmd.script", "cmd.script_retcode", "cp.get_file", "cp.get_url", "cp.push", "cp.list_master", "mine.get", "publish.publish", "publish.full_data"),
    *("publish.runner", "saltcheck.run_test", "slsutil.renderer", "slsutil.serialize", "ssh_pki.create_certificate", "x509.create_certificate"),
]
ARGUMENTS: list[dict[str, Any]] = [
    *({"kwarg": {name: "/etc/shadow"}} for name in ("extra_filerefs", "localconfig", "a b", "--raw", "x;id", "a=b", "", "$(id)")),
    *({"kwarg": kwarg} for kwarg in ("extra_filerefs=/etc/shadow", ["extra_filerefs"], 5)),
    *({"arg": [arg]} for arg in ("extra_filerefs=/etc/shadow", "localconfig=/etc/salt/master", "--no-parse=cmd")),
    *({"arg": [{"__kwarg__": True, name: "/etc/shadow"}]} for name in ("extra_filerefs", "localconfig", "a;id")),
]
