package main

import (
	"fmt"
	"math/rand"
	"strings"
)

// Writes templates that mostly make sense: it knows roughly what dot is, and is wrong now and then.
type generator struct {
	r       *rand.Rand
	vars    []string
	defined []string
	inRange int
	names   int
}

const (
	dotRoot = iota
	dotMessage
	dotTool
	dotCall
	dotProperty
	dotPlain
	dotAny
)

var fields = [][]string{
	dotRoot:     {".System", ".Messages", ".Tools", ".Think", ".ThinkLevel", ".IsThinkSet", ".Response", ".Nope"},
	dotMessage:  {".Role", ".Content", ".Thinking", ".ToolCalls", ".ToolName", ".ToolCallID", ".Images"},
	dotTool:     {".Type", ".Function", ".Function.Name", ".Function.Description", ".Function.Parameters", ".Function.Parameters.Properties", ".Function.Parameters.Required", ".Function.Parameters.Type", ".Items", ".Function.Parameters.Defs"},
	dotCall:     {".ID", ".Function.Name", ".Function.Arguments", ".Function.Index", ".Function", ".Function.Arguments.city", ".Function.Arguments.deep"},
	dotProperty: {".Type", ".Description", ".Enum", ".Items", ".AnyOf", ".Required", ".ToTypeScriptType"},
	dotPlain:    {".s", ".e", ".n", ".f", ".neg", ".big", ".small", ".b", ".no", ".z", ".l", ".none", ".m", ".m.a", ".m.c.d", ".em", ".u", ".q", ".ll", ".miss", ".miss.deep", ".z.x"},
	dotAny:      {".", ".x", ".Name", ".String", ".k"},
}

func (g *generator) pick(list ...string) string { return list[g.r.Intn(len(list))] }

func (g *generator) field(dot int) string {
	if g.r.Intn(50) == 0 {
		dot = g.r.Intn(len(fields))
	}
	if dot == dotAny && g.r.Intn(8) > 0 {
		return "."
	}
	f := g.pick(fields[dot]...)
	switch g.r.Intn(60) {
	case 0:
		f += g.pick(".x", ".Name", ".String", ".Role")
	case 1:
		f = "$" + g.pick(fields[dotRoot]...)
	}
	return f
}

func (g *generator) literal() string {
	if g.r.Intn(60) == 0 {
		return g.pick("nil", "99999999999999999999", "9223372036854775808", "1e400", "08", "0x", "'ab'", "1_", `"\q"`, "''")
	}
	return g.pick(`"a"`, `"text"`, `""`, `"x\ty\n"`, `"%d"`, `"\u00e9\x41\101"`, "`raw \"q\"`", "`a\\n`", "'a'", `'\n'`, `'é'`,
		"0", "1", "2", "3", "-1", "10", "0x1F", "0b101", "0o17", "017", "1_000", "1.5", "-0.25", "1e3", "1E-7", "0x1p4", ".5", "3.",
		"1i", "1+2i", "true", "false", "1e21", "123456789.0", "9223372036854775807", "-9223372036854775808")
}

// An operand that is likely to be a string, a number, or something with elements.
func (g *generator) likely(dot int, kind string) string {
	if g.r.Intn(15) == 0 {
		return g.operand(dot, 1)
	}
	of := map[string]map[int][]string{
		"string": {dotRoot: {".System", ".ThinkLevel", ".Response"}, dotMessage: {".Role", ".Content", ".Thinking", ".ToolName"},
			dotTool: {".Type", ".Function.Name"}, dotCall: {".ID", ".Function.Name"}, dotProperty: {".Description", ".ToTypeScriptType"},
			dotPlain: {".s", ".e", ".u", ".q", ".m.a"}},
		"number": {dotCall: {".Function.Index"}, dotRoot: {"(len .Messages)", "(len .System)"}, dotTool: {"(len .Function.Name)"},
			dotMessage: {"(len .Content)", "(len .Images)"}, dotProperty: {"(len .Type)"}, dotPlain: {"(len .s)", "(len .l)"}},
		"list": {dotRoot: {".Messages", ".Tools", ".System"}, dotMessage: {".ToolCalls", ".Content", ".Role"},
			dotTool: {".Function.Parameters.Properties", ".Function.Parameters.Required", ".Function.Name"}, dotCall: {".Function.Arguments"},
			dotProperty: {".Type", ".Enum", ".AnyOf"}, dotPlain: {".l", ".ll", ".m", ".s", ".u", ".none", ".em"}},
	}
	if list := of[kind][dot]; len(list) > 0 && g.r.Intn(4) > 0 {
		return g.pick(list...)
	}
	switch kind {
	case "string":
		return g.pick(`"user"`, `"assistant"`, `"a"`, `"text"`, "`raw`", `(print "x" 1)`, `(printf "%s" "a")`)
	case "number":
		return g.pick("0", "1", "2", "-1", "0x10", "'a'", "(len \"abc\")")
	}
	return g.pick(`"abc"`, `"héllo"`, "$", "(slice \"abc\" 1)")
}

func (g *generator) format() string {
	verbs := []string{"%s", "%v", "%d", "%q", "%x", "%X", "%t", "%T", "%+v", "%#v", "%5d", "%-5s|", "%05d", "%.2f", "%8.3f", "%e", "%g", "%c",
		"%U", "%#U", "%b", "%o", "%#x", "% x", "%O", "%%", "%5.1s", "%[2]v", "%[1]d", "%*d", "%.*f", "%z", "%", "%!", "%-08.2f", "%+d", "% d",
		"%+q", "%#q", "%6t", "%p", "%w", "%[3]d", "%[x]d", "%#g", "%G", "%+.1e", "%x", "%10v", "%-10v|", "%.3v", "%08v", "%é"}
	var s strings.Builder
	for i := g.r.Intn(3) + 1; i > 0; i-- {
		s.WriteString(g.pick("", "a ", "é", ", ") + verbs[g.r.Intn(len(verbs))])
	}
	return `"` + s.String() + `"`
}

func (g *generator) operand(dot, depth int) string {
	switch n := g.r.Intn(20); {
	case n < 7:
		return g.field(dot)
	case n < 10:
		return "."
	case n < 12 && len(g.vars) > 0:
		v := g.pick(g.vars...)
		if g.r.Intn(12) == 0 {
			v += g.pick(fields[dot]...)
		}
		return v
	case n < 13:
		if g.r.Intn(20) == 0 {
			return "$nope"
		}
		return g.pick("$", "$.System", "$.Messages", "$.s")
	case n < 15 && depth > 0:
		p := "(" + g.pipeline(dot, depth-1) + ")"
		if g.r.Intn(5) == 0 {
			return "(index $.Messages " + g.pick("0", "1") + ")" + g.pick(".Role", ".Content", ".x")
		}
		return p
	default:
		return g.literal()
	}
}

func (g *generator) args(dot, depth, min, max int) string {
	var s strings.Builder
	for n := min + g.r.Intn(max-min+1); n > 0; n-- {
		s.WriteString(g.pick(" ", " ", " ", "  ", "\n ") + g.operand(dot, depth))
	}
	return s.String()
}

func (g *generator) call(dot, depth int) string {
	if g.r.Intn(60) == 0 { // the wrong number of arguments
		return g.pick("len", "not", "eq", "lt", "index", "printf", "json", "and", "or", "slice", "call", "ne") + g.args(dot, depth, 0, 3)
	}
	switch g.r.Intn(22) {
	case 0, 1:
		return g.pick("and", "or") + g.args(dot, depth, 1, 4)
	case 2:
		return "not" + g.args(dot, depth, 1, 1)
	case 3, 4, 5:
		kind := g.pick("string", "number")
		return g.pick("eq", "ne", "lt", "le", "gt", "ge") + " " + g.likely(dot, kind) + " " + g.likely(dot, kind)
	case 6:
		kind := g.pick("string", "number")
		s := "eq " + g.likely(dot, kind)
		for n := g.r.Intn(3); n >= 0; n-- {
			s += " " + g.likely(dot, kind)
		}
		return s
	case 7, 8:
		return "len " + g.likely(dot, "list")
	case 9:
		return "index " + g.likely(dot, "list") + g.pick(" 0", " 0", " 1", ` "city"`, ` "a"`, " -1", " 5 0", "")
	case 10:
		return "slice " + g.likely(dot, "list") + g.pick(" 1", " 0 2", " 1 1", " 0 1 2", " 3 1", " 0 99", "", " 0")
	case 11:
		return g.pick("print", "println") + g.args(dot, depth, 0, 4)
	case 12, 13, 14, 15:
		return "printf " + g.format() + g.args(dot, depth, 0, 3)
	case 16:
		return g.pick("html", "js", "urlquery") + g.args(dot, depth, 0, 2)
	case 17, 18:
		return "json" + g.args(dot, depth, 1, 1)
	case 19:
		return g.pick("currentDate", "yesterdayDate", `currentDate "2006"`, "toTypeScriptType .")
	case 20:
		return g.pick("print", "json") + " (" + g.pipeline(dot, depth-1) + ")"
	default:
		if g.r.Intn(8) == 0 {
			return "call" + g.args(dot, depth, 1, 2)
		}
		return g.pick("len", "not", "json", "html", "print") + " (" + g.likely(dot, "list") + ")"
	}
}

func (g *generator) command(dot, depth int) string {
	if depth <= 0 || g.r.Intn(3) > 0 {
		return g.operand(dot, depth)
	}
	return g.call(dot, depth)
}

func (g *generator) pipeline(dot, depth int) string {
	s := g.command(dot, depth)
	for g.r.Intn(7) == 0 {
		s += g.pick(" | ", "|") + g.pick("json", "html", "js", "print", "printf "+g.format(), "not", "println", "urlquery", "and 1", "or 0", "toTypeScriptType")
		if g.r.Intn(10) == 0 {
			s += g.pick(" | ", "|") + g.pick("len", "eq 1", `eq "user"`, "index $.Messages", "slice", "call", ".Role", "printf", "lt 1", "1")
		}
	}
	return s
}

func (g *generator) action(body string) string {
	return "{{" + g.pick("", "", " ", " ", "- ", "-\n") + body + g.pick("", " ", " ", " -", "\n-") + "}}"
}

func (g *generator) text() string {
	return g.pick("", "", " ", "\n", "text", "a b", "\n\n  ", "<|im_start|>", "é", "}}", "{ ", "x\t", "\r\n", "{ { ", `"q"`)
}

func (g *generator) scope(body func() string) string {
	n := len(g.vars)
	s := body()
	g.vars = g.vars[:n]
	return s
}

func (g *generator) declare() string {
	v := g.pick("$x", "$y", "$i", "$é", "$x1")
	g.vars = append(g.vars, v)
	return v
}

func (g *generator) rangeOver(dot, depth int) string {
	return g.scope(func() string {
		over, inner := g.pipeline(dot, 1), dotAny
		if g.r.Intn(8) > 0 || dot == dotProperty {
			switch dot {
			case dotRoot:
				over, inner = ".Messages", dotMessage
				if g.r.Intn(3) == 0 {
					over, inner = ".Tools", dotTool
				}
			case dotMessage:
				over, inner = ".ToolCalls", dotCall
			case dotTool:
				over, inner = ".Function.Parameters.Properties", dotProperty
			case dotCall:
				over = ".Function.Arguments"
			case dotPlain:
				over = g.pick(".l", ".m", ".none", ".ll", "3", ".em")
			case dotProperty:
				over = g.pick(".Type", ".Enum", ".AnyOf", "2")
			default:
				over = g.pick("2", "$.Messages", "$.l", "0")
			}
		}
		decl := ""
		switch g.r.Intn(6) {
		case 0:
			decl = g.declare() + " := "
		case 1, 2:
			decl = g.declare() + g.pick(", ", ",") + g.declare() + " := "
		case 3:
			if len(g.vars) > 0 {
				decl = g.pick(g.vars...) + " = "
			}
		}
		g.inRange++
		s := g.action("range "+decl+over) + g.list(inner, depth-1)
		g.inRange--
		if g.r.Intn(4) == 0 {
			s += g.action("else") + g.list(dot, depth-1)
		}
		return s + g.action("end")
	})
}

func (g *generator) condition(dot, depth int) string {
	return g.scope(func() string {
		word := g.pick("if", "if", "if", "with")
		decl := ""
		if g.r.Intn(8) == 0 {
			decl = g.declare() + " := "
		}
		inner := dot
		if word == "with" {
			inner = dotAny
		}
		s := g.action(word+" "+decl+g.pipeline(dot, 2)) + g.list(inner, depth-1)
		for g.r.Intn(4) == 0 {
			s += g.action("else "+word+" "+g.pipeline(dot, 1)) + g.list(inner, depth-1)
		}
		if g.r.Intn(2) == 0 {
			s += g.action("else") + g.list(dot, depth-1)
		}
		return s + g.action("end")
	})
}

func (g *generator) node(dot, depth int) string {
	n := g.r.Intn(24)
	if depth <= 0 && n > 11 {
		n = g.r.Intn(12)
	}
	switch {
	case n < 3:
		return g.text()
	case n < 10:
		return g.action(g.pipeline(dot, 3))
	case n == 10:
		if g.inRange > 0 || g.r.Intn(60) == 0 {
			return g.action(g.pick("break", "continue"))
		}
		return g.action(g.pipeline(dot, 1))
	case n == 11:
		if len(g.vars) > 0 && g.r.Intn(2) == 0 {
			return g.action(g.pick(g.vars...) + " = " + g.pipeline(dot, 1))
		}
		p := g.pipeline(dot, 1)
		return g.action(g.declare() + " := " + p)
	case n < 17:
		return g.condition(dot, depth)
	case n < 21:
		return g.rangeOver(dot, depth)
	case n == 21:
		return g.pick("{{", "{{- ", "{{-\n") + g.pick("/* note */", "/**/", "/* a\nb */") + g.pick("}}", " -}}", "\t-}}")
	case n == 22 && len(g.defined) > 0:
		return g.action(fmt.Sprintf("template %q %s", g.pick(g.defined...), g.operand(dot, 1)))
	default:
		if g.r.Intn(3) > 0 {
			return g.text()
		}
		return g.define("block", dot, depth-1)
	}
}

func (g *generator) list(dot, depth int) string {
	var s strings.Builder
	for n := g.r.Intn(4); n >= 0; n-- {
		s.WriteString(g.node(dot, depth))
	}
	return s.String()
}

// A definition sees no variables from outside, and only what was defined before it: no recursion.
func (g *generator) define(word string, dot, depth int) string {
	name := fmt.Sprintf("t%d", g.names)
	g.names++
	vars, in := g.vars, g.inRange
	g.vars, g.inRange = nil, 0
	arg := ""
	if word == "block" {
		arg = " ."
	}
	s := g.action(fmt.Sprintf("%s %q%s", word, name, arg)) + g.list(dot, depth) + g.action("end")
	g.vars, g.inRange = vars, in
	g.defined = append(g.defined, name)
	return s
}

// One character more, less or other.
func (g *generator) damage(s string) string {
	r := []rune(s)
	if len(r) == 0 {
		return s
	}
	i := g.r.Intn(len(r))
	chars := []rune("{}()|.,:=$\"'`\\ \n-+/*ax09é_@#")
	c := chars[g.r.Intn(len(chars))]
	switch g.r.Intn(3) {
	case 0:
		return string(r[:i]) + string(r[i+1:])
	case 1:
		return string(r[:i]) + string(c) + string(r[i:])
	}
	r[i] = c
	return string(r)
}

func (g *generator) source(data int) string {
	g.vars, g.defined, g.inRange, g.names = nil, nil, 0, 0
	dot := dotRoot
	if data == len(chats) {
		dot = dotPlain
	} else if data > len(chats) {
		dot = dotAny
	}
	s := ""
	for g.r.Intn(6) == 0 {
		s += g.define("define", dot, 1)
	}
	for n := g.r.Intn(3); n >= 0; n-- {
		s += g.node(dot, 2)
	}
	for g.r.Intn(9) == 0 {
		s = g.damage(s)
	}
	return s
}
