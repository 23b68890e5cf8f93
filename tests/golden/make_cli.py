"""Condenses recorded terminal sessions of a real Ollama into tests/data/cli/cases.json.gz.

    make_cli.py RECORDINGS

RECORDINGS: a folder of text files, a session each: the command, how it ran and its exit status, then what came.
Kept are the commands that we have, in the order below, and of what came its view (tests/e2e/cli_view.py): no text
of a model, no ids, no times.
"""
import ast
import gzip
import json
import re
import shlex
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
from cli_view import name_ours, view_pipes, view_terminal  # noqa: E402

OUT = HERE.parent / "data" / "cli" / "cases.json.gz"
NOT_BUILT = re.compile(r"(help|no_args|no_server)_(pull|push|signin|signout|launch)$|(pull|push|signin|signout)_")

FIXED = "PARAMETER temperature 0\nPARAMETER seed 1\n"
THINK = ("{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}"
         "{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n{{ if .Think }}<think>{{ end }}")
# $GGUF is the model's file, $EMBED a copy of it that says that it pools its vectors.
FILES = {
    "Plainfile": "FROM $GGUF\n",
    "Detfile": f"FROM $GGUF\n{FIXED}PARAMETER num_predict 24\n",
    "Longfile": f"FROM $GGUF\n{FIXED}PARAMETER num_predict 3000\nPARAMETER stop zzzzzz\n",
    "Fullfile": '# comment\nFROM smollm2:135m\nSYSTEM """You are terse.\nVery terse.\nReally."""\n'
                'TEMPLATE """{{ .System }} {{ .Prompt }}"""\nPARAMETER temperature 0.5\nPARAMETER stop "<x>"\n'
                'PARAMETER stop "<y>"\nPARAMETER num_ctx 2048\nLICENSE """MIT\nline two\nline three\nline four"""\n'
                "MESSAGE user Hi\nMESSAGE assistant Hello\n",
    "Thinkfile": f'FROM $GGUF\n{FIXED}PARAMETER num_predict 12\nTEMPLATE """{THINK}"""\n',
    "Embedfile": "FROM $EMBED\n",
    "Badfile": "FROM smollm2:135m\nFROBNICATE 1\n",
    "Nofrom": "SYSTEM hi\n",
    "Badparam": "FROM smollm2:135m\nPARAMETER num_ctx many\n",
    "Unkparam": "FROM smollm2:135m\nPARAMETER frobnicate 1\n",
    "Badrole": "FROM smollm2:135m\nMESSAGE boss Hi\n",
    "Badtemplate": "FROM smollm2:135m\nTEMPLATE {{ .Prompt\n",
    "Missingfrom": "FROM ./nope.gguf\n",
    "Unterminated": 'FROM smollm2:135m\nSYSTEM """abc\n',
    "Notgguf": "FROM ./junk.gguf\n",
    "junk.gguf": "this is not a gguf file",
    "Refused": "FROM 127.0.0.1:1/x/y\n",
    "dir/Modelfile": "FROM smollm2:135m\nSYSTEM from the default Modelfile\n",
    "empty/": "",
}
FOLDERS = {"create_default_modelfile": "dir", "create_no_modelfile": "empty"}
# Before a case: requests to the server, models to unload, and how many runners there are then.
BEFORE = {"create_tty": {"requests": [["DELETE", "/api/delete", {"model": "smollm2:135m"}]]},
          "ps_after_stop": {"runners": 1}, "cp_ok": {"unload": ["embed", "det"], "runners": 0}}

ORDER = """
help help_serve help_create help_show help_run help_stop help_list help_ps help_cp help_rm help_help help_completion
help_word help_word_unknown version version_short version_no_server bare_no_terminal unknown_command unknown_flag
no_args_run no_args_show no_args_create no_args_stop no_args_rm no_args_cp cp_one_arg list_two_args ps_two_args
no_server_list no_server_ps no_server_run no_server_show no_server_rm no_server_cp no_server_stop no_server_create
serve_port_taken list_empty list_empty_tty ps_empty
create_piped create_again_piped create_tty create_from_model_tty create_default_modelfile create_no_modelfile
create_missing_file create_badfile create_nofrom create_badparam create_unkparam create_badrole create_badtemplate
create_missingfrom create_unterminated create_notgguf create_refused create_bad_name create_quantize
create_quantize_unknown create_det create_long create_think create_embed
list ls list_tty list_prefix list_prefix_none
show show_tty show_full show_embed show_think show_verbose show_license show_modelfile show_parameters show_system
show_template show_plain_license show_plain_system show_plain_parameters show_two_flags show_missing show_bad_name
show_two_args
run_prompt_cold run_prompt run_prompt_words run_nowordwrap run_prompt_tty run_stdin run_stdin_and_prompt
run_empty_stdin run_verbose run_verbose_tty run_format_json run_format_bad run_keepalive run_keepalive_bad
run_keepalive_number run_think_unsupported run_think_false run_think_bad run_think_model run_think_model_tty
run_think_model_hide run_think_model_off run_embed run_embed_no_text run_missing_offline run_missing_offline_tty
run_bad_name run_missing_refused run_unknown_flag run_keepalive_forever
ps_loaded ps_loaded_tty ps_prefix ps_prefix_upper stop_loaded ps_after_stop stop_not_loaded stop_missing
cp_ok cp_missing cp_bad_destination rm_ok rm_missing rm_two_one_missing rm_missing_first rm_bad_name
repl_commands repl_chat repl_system_multiline repl_ctrl_c_generating repl_ctrl_d repl_ctrl_c_twice
repl_missing_offline repl_think repl_embed run_prompt_ctrl_c repl_verbose_flag list_at_end
""".split()


def read(path):
    """The command, its environment and standard input, how it ran, and the parts that came."""
    first, how, rest = path.read_text(encoding="utf-8").split("\n", 2)
    words = shlex.split(first.removeprefix("$ "))
    env = dict(w.split("=", 1) for w in words[:words.index("ollama")])
    m = re.fullmatch(r"# (pipes|pseudo terminal 80x24)(; stdin: (.*)|, interactive)?; exit code: (\d+)", how)
    stdin = ast.literal_eval(m[3]) if m[3] and m[3] != "empty pipe" else ""
    marks = re.split(r"^--- (stdout|stderr|terminal|start|sent .*) ---\n", rest, flags=re.M)[1:]
    parts = [(a, b.replace("\u241b", "\x1b").replace("\u240d", "\r")) for a, b in zip(marks[::2], marks[1::2])]
    mode = "pipes" if m[1] == "pipes" else "talk" if m[2] else "terminal"
    return {"args": words[words.index("ollama") + 1:], "env": env, "stdin": stdin, "mode": mode}, m[4], parts


def step_label(mark):
    keys = ast.literal_eval(mark.removeprefix("sent "))
    return keys[:-1] if keys.endswith("\r") else keys


def condense(name, path):
    case, status, parts = read(path)
    case = {"name": name} | {k: v for k, v in case.items() if v or k == "args"}
    case |= {k: v[name] for k, v in (("cwd", FOLDERS), ("before", BEFORE)) if name in v}
    if name.startswith("run_") and name != "run_embed" and status == "0":
        case["answer"] = True
    if case["mode"] == "pipes":
        want = view_pipes(status, parts[0][1], parts[1][1], case.get("answer"))
    else:
        steps = [("start", parts[0][1].removesuffix("\n"))]
        if status == "0":  # else the program was gone
            steps += [(step_label(a), b.removesuffix("\n")) for a, b in parts[1:]]
        case["steps"] = [a for a, _ in steps[1:]]
        want = view_terminal(status, steps, case.get("answer"))
    return case | {"want": name_ours(want)}


def main():
    recordings = Path(sys.argv[1])
    there = {p.stem for p in recordings.glob("*.txt")}
    left = sorted(there - set(ORDER))
    unknown = [n for n in left if not NOT_BUILT.match(n)]
    assert not unknown, f"neither in the order nor left out: {unknown}"
    cases = [condense(n, recordings / (n + ".txt")) for n in ORDER]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps({"files": FILES, "left_out": left, "cases": cases}, ensure_ascii=False, separators=(",", ":"))
    with gzip.GzipFile(OUT, "wb", 9, mtime=0) as f:
        f.write(data.encode())
    print(f"{len(cases)} cases, {len(left)} left out, {OUT.stat().st_size} bytes")


main()
