"""Writes vocabularies and cases in the form that tests/tok_pack.h reads: numbers are LEB128."""
import struct

import numpy as np

IDS = ("bos eos eot eom unknown seperator padding cls mask fim_pre fim_suf fim_mid fim_pad fim_rep fim_sep").split()
FLAGS = ("add_bos_token add_eos_token add_sep_token add_space_prefix remove_extra_whitespaces "
         "normalizer.lowercase normalizer.strip_accents clean_spaces").split()


def number(n):
    out = bytearray()
    while True:
        out.append(n & 0x7F | (0x80 if n > 0x7F else 0))
        n >>= 7
        if not n:
            return bytes(out)


def signed(n):
    return number(n * 2 if n >= 0 else -n * 2 - 1)


def string(data):
    return number(len(data)) + data


def runs(values):
    """[(count, value)] of neighbours that are equal."""
    out = []
    for v in values:
        if out and out[-1][1] == v:
            out[-1][0] += 1
        else:
            out.append([1, v])
    return out


def pairs_of(tokens, merges):
    """{id: (left id, right id)} for tokens that are two earlier ones; the first merge decides."""
    ids = {}
    for i, t in enumerate(tokens):
        ids.setdefault(t, i)
    joins = {}
    for m in merges:
        at = m.index(b" ", 1)
        a, b = ids.get(m[:at]), ids.get(m[at + 1:])
        t = ids.get(m[:at] + m[at + 1:])
        if None not in (a, b, t) and a < t and b < t:
            joins.setdefault(t, (a, b))
    for i, t in enumerate(tokens):
        if i in joins or ids[t] != i:
            continue
        for cut in range(len(t) - 1, 0, -1):
            a, b = ids.get(t[:cut], i), ids.get(t[cut:], i)
            if a < i and b < i:
                joins[i] = (a, b)
                break
    return joins, ids


def packed_scores(scores):
    if scores is None:
        return number(0)
    out, i, whole = number(1), 0, scores == np.round(scores)
    while i < len(scores):
        j = i + 1
        if whole[i]:
            step = int(scores[j] - scores[i]) if j < len(scores) and whole[j] else 0
            while j < len(scores) and whole[j] and scores[j] - scores[j - 1] == step:
                j += 1
            out += number(0) + number(j - i) + signed(int(scores[i])) + signed(step)
        else:
            while j < len(scores) and not whole[j]:
                j += 1
            out += number(1) + number(j - i) + scores[i:j].astype("<f4").tobytes()
        i = j
    return out


def packed_merges(merges, joins, ids):
    order, at, items = [joins[i] for i in sorted(joins)], 0, []
    for m in merges:
        cut = m.index(b" ", 1)
        pair = (ids.get(m[:cut]), ids.get(m[cut + 1:]))
        if at < len(order) and pair == order[at]:
            items.append((0, b""))
            at += 1
        elif None in pair:
            items.append((2, string(m)))
        elif pair in (order[at:at + 2000] if at < len(order) else []):
            skip = order.index(pair, at) - at
            items.append((3, number(skip)))
            at += skip + 1
        else:
            items.append((1, number(pair[0]) + number(pair[1])))
    out, i = number(len(merges)), 0
    for count, kind in runs([k for k, _ in items]):
        out += number(kind) + number(count) + b"".join(d for _, d in items[i:i + count])
        i += count
    return out


def vocabulary(meta):
    get = lambda k, d=None: meta.get("tokenizer.ggml." + k, d)
    tokens, merges = get("tokens"), get("merges", [])
    joins, ids = pairs_of(tokens, merges)
    out = b"TOKV" + string(get("model")) + string(get("pre", b""))
    out += string(meta.get("general.architecture", b"")) + string(meta.get("general.name", b""))
    out += number(len(tokens))
    for i, t in enumerate(tokens):
        out += number(joins[i][0] + 1) + number(joins[i][1]) if i in joins else number(0) + string(t)
    types = get("token_type")
    for count, kind in runs([1] * len(tokens) if types is None else types.tolist()):
        out += number(count) + number(kind)
    out += packed_scores(get("scores") if get("model") in (b"llama", b"t5") else None)
    out += packed_merges(merges, joins, ids)
    out += b"".join(signed(int(get(k + "_token_id", -2))) for k in IDS)
    out += b"".join(signed(int(get(k, -1))) for k in FLAGS)
    charsmap = get("precompiled_charsmap")
    return out + string(b"" if charsmap is None else charsmap.astype("u1").tobytes())


def case(text, add, special, ids, decoded):
    """decoded: the text of the ids, left out where it is the text itself."""
    same = decoded == text
    return (number(add | special << 1 | same << 2) + string(text) + number(len(ids))
            + b"".join(map(number, ids)) + (b"" if same else string(decoded)))


def cases(items):
    return b"TOKC" + number(len(items)) + b"".join(case(*i) for i in items)
