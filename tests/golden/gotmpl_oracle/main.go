// Random Go templates, and what Go's text/template makes of them over the data of Ollama:
//
//	go run . -seed 1 -n 2500 > ../../data/gotmpl/random.json
//
// tests/golden/test_chat_gotmpl.c compares. A case is [source, data, output] or, for an error,
// [source, data, null, error]; data counts through the chats first, then the plain values.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"regexp"
	"runtime"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
	"unicode/utf8"
)

var chats = []string{
	`{"messages":[{"role":"user","content":"Hello"}],"tools":null,"think":-1,"think_level":""}`,
	`{"messages":[{"role":"system","content":"Be <brief> & \"kind\""},{"role":"user","content":"Wéather?\n"},` +
		`{"role":"assistant","content":"","thinking":"Hm","tool_calls":[{"id":"c1","function":{"index":0,"name":"get_weather",` +
		`"arguments":{"city":"Oslo","a":1,"deep":{"y":[1,2.5,null,true],"x":"<é>"}}}},{"function":{"index":1,"name":"add","arguments":{}}}]},` +
		`{"role":"tool","content":"12 C","tool_name":"get_weather","tool_call_id":"c1"},{"role":"tool","content":"0"},` +
		`{"role":"assistant","content":"Cold."},{"role":"system","content":"New"},{"role":"user","content":"日本 😀 'x'"}],` +
		`"tools":[{"type":"function","function":{"name":"get_weather","description":"Weather & more","parameters":{"type":"object",` +
		`"required":["city"],"$defs":{"q":1},"properties":{"city":{"type":"string","description":"City"},"a":{"type":["integer","null"],` +
		`"enum":[1,"two",null]},"l":{"type":"array","items":{"type":"string"}},"any":{"anyOf":[{"type":"string"},{"type":"boolean"}]},` +
		`"none":{}}}}},{"type":"function","items":[1],"function":{"name":"add","description":"","parameters":{"type":"object","properties":null}}}],` +
		`"think":1,"think_level":"high"}`,
	`{"messages":[],"tools":[],"think":0,"think_level":""}`,
}

var plains = []string{
	`{"s":"text","e":"","n":3,"f":2.5,"neg":-7,"big":1e21,"small":0.0000001,"b":true,"no":false,"z":null,"l":[1,"b",null,[2,3],{"k":"v"}],` +
		`"none":[],"m":{"b":2,"a":"x","c":{"d":[1]}},"em":{},"u":"Straße 日本\t😀","q":"<a href=\"x\">&'=\\</a>","ll":[[1,2],["x"],[]]}`,
	`["a","b",3]`, `null`, `7`, `"plain"`,
}

// An address (or the name of this package) that a function has seen may be measured or compared: such a case is dropped. One
// that is printed is replaced.
var addresses = regexp.MustCompile(`\b0x[0-9a-f]{6,14}`)
var escaped = regexp.MustCompile(`0x[0-9a-f]{6}`)

func seen(tainted *bool, s string) string {
	*tainted = *tainted || escaped.MatchString(s) || strings.Contains(s, "main.")
	return s
}

func funcs(tainted *bool) template.FuncMap {
	return template.FuncMap{
		"print":         func(a ...any) string { return seen(tainted, fmt.Sprint(a...)) },
		"printf":        func(f string, a ...any) string { return seen(tainted, fmt.Sprintf(f, a...)) },
		"println":       func(a ...any) string { return seen(tainted, fmt.Sprintln(a...)) },
		"html":          func(a ...any) string { return seen(tainted, template.HTMLEscaper(a...)) },
		"js":            func(a ...any) string { return seen(tainted, template.JSEscaper(a...)) },
		"urlquery":      func(a ...any) string { return seen(tainted, template.URLQueryEscaper(a...)) },
		"json":          asJSON,
		"currentDate":   func(...string) string { return "2025-07-20" },
		"yesterdayDate": func(...string) string { return "2025-07-19" },
		"toTypeScriptType": func(v any) string {
			switch p := v.(type) {
			case ToolProperty:
				return p.ToTypeScriptType()
			case *ToolProperty:
				if p != nil {
					return p.ToTypeScriptType()
				}
			}
			return "any"
		},
	}
}

// Ollama refuses a template that calls another without data.
func lacksData(n parse.Node) bool {
	list := func(l *parse.ListNode) bool {
		if l != nil {
			for _, k := range l.Nodes {
				if lacksData(k) {
					return true
				}
			}
		}
		return false
	}
	switch n := n.(type) {
	case *parse.ListNode:
		return list(n)
	case *parse.IfNode:
		return list(n.List) || list(n.ElseList)
	case *parse.RangeNode:
		return list(n.List) || list(n.ElseList)
	case *parse.WithNode:
		return list(n.List) || list(n.ElseList)
	case *parse.TemplateNode:
		return n.Pipe == nil
	}
	return false
}

var names = strings.NewReplacer("main.templ", "template.templ", "main.ToolP", "api.ToolP",
	"main.ImageData", "api.ImageData", "main.PropertyType", "api.PropertyType")

type limited struct{ strings.Builder }

var errDrop = errors.New("not to be compared")

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > 3000 {
		return 0, errDrop
	}
	return l.Builder.Write(b)
}

func run(source string, data any) (string, error) {
	tainted := false
	t, err := template.New("").Option("missingkey=zero").Funcs(funcs(&tainted)).Parse(source)
	if err != nil {
		return "", err
	}
	for _, x := range t.Templates() {
		if x.Tree != nil && lacksData(x.Root) {
			return "", errors.New("undefined template specified")
		}
	}
	var out limited
	done := make(chan error, 1)
	go func() { done <- t.Execute(&out, data) }()
	select {
	case err = <-done:
	case <-time.After(time.Second): // it counts to 9223372036854775807
		return "", errDrop
	}
	if tainted {
		return "", errDrop
	}
	return addresses.ReplaceAllString(names.Replace(out.String()), "0xc000000000"), err
}

// Data anew each time, so that what shows an address differs and is dropped.
func dataOf(i int) any {
	if i < len(chats) {
		return chatData(chats[i])
	}
	return plainData(plains[i-len(chats)])
}

func oracle(source string, i int) ([]any, bool) {
	out, err := run(source, dataOf(i))
	again, err2 := run(source, dataOf(i))
	if out != again || fmt.Sprint(err) != fmt.Sprint(err2) || errors.Is(err, errDrop) ||
		(err != nil && strings.Contains(err.Error(), "exceeded maximum template depth")) || // ours is lower
		!utf8.ValidString(out) || !utf8.ValidString(source) {
		return nil, false
	}
	if err != nil {
		text := addresses.ReplaceAllString(names.Replace(err.Error()), "0xc000000000")
		if !utf8.ValidString(text) {
			return nil, false
		}
		return []any{source, i, nil, text}, true
	}
	return []any{source, i, out}, true
}

func main() {
	seed := flag.Int64("seed", 1, "of the generator")
	n := flag.Int("n", 2500, "cases")
	flag.Parse()
	g := &generator{r: rand.New(rand.NewSource(*seed))}
	w := bufio.NewWriter(os.Stdout)
	defer w.Flush()
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	fmt.Fprintf(w, "{\"go\":%q,\n", runtime.Version())
	fmt.Fprint(w, `"chats":[`, strings.Join(chats, ",\n"), "],\n\"plains\":[", strings.Join(plains, ",\n"),
		"],\n\"cases\":[\n")
	seen := map[string]bool{}
	for i := 0; i < *n; {
		d := g.r.Intn(len(chats) + len(plains))
		if d >= len(chats) && g.r.Intn(2) == 0 {
			d = g.r.Intn(len(chats) + 1)
		}
		source := g.source(d)
		if d < len(chats) { // else it would be run once for each turn
			source = `{{define "m"}}{{.Messages}}{{end}}` + source
		}
		c, ok := oracle(source, d)
		if ok && len(c) == 4 && g.r.Intn(4) == 0 { // an error ends a template early: fewer of them
			continue
		}
		if ok && !seen[source] {
			seen[source] = true
			if i > 0 {
				fmt.Fprint(w, ",")
			}
			if err := e.Encode(c); err != nil {
				panic(err)
			}
			i++
		}
	}
	fmt.Fprint(w, "]}\n")
}
