package main

// The data of a chat as Ollama hands it to a template: the names of types and fields appear in
// errors, so they are the ones a template would see there.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

type ImageData []byte

type PropertyType []string

func (t PropertyType) String() string {
	switch len(t) {
	case 0:
		return ""
	case 1:
		return t[0]
	}
	return fmt.Sprint([]string(t))
}

func (t PropertyType) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return json.Marshal(t[0])
	}
	return json.Marshal([]string(t))
}

func (t *PropertyType) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var s string
		err := json.Unmarshal(b, &s)
		*t = PropertyType{s}
		return err
	}
	var list []string
	err := json.Unmarshal(b, &list)
	*t = list
	return err
}

type ToolPropertiesMap struct{}

func (m *ToolPropertiesMap) String() string { return "{}" }

type ToolProperty struct {
	AnyOf       []ToolProperty     `json:"anyOf,omitempty"`
	Type        PropertyType       `json:"type,omitempty"`
	Items       any                `json:"items,omitempty"`
	Description string             `json:"description,omitempty"`
	Enum        []any              `json:"enum,omitempty"`
	Properties  *ToolPropertiesMap `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`
}

var scriptNames = map[string]string{
	"string": "string", "number": "number", "integer": "number", "boolean": "boolean",
	"array": "any[]", "object": "Record<string, any>", "null": "null",
}

func (p ToolProperty) ToTypeScriptType() string {
	var names []string
	for _, a := range p.AnyOf {
		names = append(names, a.ToTypeScriptType())
	}
	if len(p.AnyOf) == 0 {
		for _, t := range p.Type {
			name, ok := scriptNames[t]
			if !ok {
				name = "any"
			}
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "any"
	}
	return strings.Join(names, " | ")
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

type templateProperties map[string]ToolProperty

func (p templateProperties) String() string {
	if p == nil {
		return "{}"
	}
	return asJSON(p)
}

type templateToolFunctionParameters struct {
	Type       string             `json:"type"`
	Defs       any                `json:"$defs,omitempty"`
	Items      any                `json:"items,omitempty"`
	Required   []string           `json:"required,omitempty"`
	Properties templateProperties `json:"properties"`
}

func (p templateToolFunctionParameters) String() string { return asJSON(p) }

type templateToolFunction struct {
	Name        string                         `json:"name"`
	Description string                         `json:"description"`
	Parameters  templateToolFunctionParameters `json:"parameters"`
}

func (f templateToolFunction) String() string { return asJSON(f) }

type templateTool struct {
	Type     string               `json:"type"`
	Items    any                  `json:"items,omitempty"`
	Function templateToolFunction `json:"function"`
}

func (t templateTool) String() string { return asJSON(t) }

type templateTools []templateTool

func (t templateTools) String() string { return asJSON(t) }

type templateArgs map[string]any

func (a templateArgs) String() string {
	if a == nil {
		return "{}"
	}
	return asJSON(a)
}

type templateToolCallFunction struct {
	Index     int          `json:"index"`
	Name      string       `json:"name"`
	Arguments templateArgs `json:"arguments"`
}

type templateToolCall struct {
	ID       string                   `json:"id,omitempty"`
	Function templateToolCallFunction `json:"function"`
}

type templateMessage struct {
	Role       string             `json:"role"`
	Content    string             `json:"content"`
	Thinking   string             `json:"thinking,omitempty"`
	Images     []ImageData        `json:"images,omitempty"`
	ToolCalls  []templateToolCall `json:"tool_calls,omitempty"`
	ToolName   string             `json:"tool_name,omitempty"`
	ToolCallID string             `json:"tool_call_id,omitempty"`
}

// A request as the C side reads it.
type request struct {
	Messages   []*templateMessage `json:"messages"`
	Tools      templateTools      `json:"tools"`
	Think      int                `json:"think"`
	ThinkLevel string             `json:"think_level"`
}

func read(text string, v any) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	if err := d.Decode(v); err != nil {
		panic(fmt.Sprint(text, ": ", err))
	}
}

// Go grows what it decodes by doubling; a capacity is visible to slice and nowhere else said.
func clip[T any](list []T) []T { return list[:len(list):len(list)] }

func clipAny(v any) any {
	switch x := v.(type) {
	case []any:
		for i := range x {
			x[i] = clipAny(x[i])
		}
		return clip(x)
	case map[string]any:
		for k := range x {
			x[k] = clipAny(x[k])
		}
	}
	return v
}

func clipProperty(p *ToolProperty) {
	p.AnyOf, p.Type, p.Enum, p.Required = clip(p.AnyOf), clip(p.Type), clip(p.Enum), clip(p.Required)
	clipAny(p.Items)
	for i := range p.AnyOf {
		clipProperty(&p.AnyOf[i])
	}
}

func chatData(text string) map[string]any {
	var q request
	read(text, &q)
	var system []string
	for _, m := range q.Messages {
		if m.Role == "system" {
			system = append(system, m.Content)
		}
		m.ToolCalls, m.Images = clip(m.ToolCalls), clip(m.Images)
		for i := range m.ToolCalls {
			clipAny(map[string]any(m.ToolCalls[i].Function.Arguments))
		}
	}
	for i := range q.Tools {
		p := &q.Tools[i].Function.Parameters
		p.Required = clip(p.Required)
		for k, v := range p.Properties {
			clipProperty(&v)
			p.Properties[k] = v
		}
	}
	return map[string]any{
		"System": strings.Join(system, "\n\n"), "Messages": clip(q.Messages), "Tools": q.Tools[:len(q.Tools):len(q.Tools)],
		"Response": "", "Think": q.Think == 1, "ThinkLevel": q.ThinkLevel, "IsThinkSet": q.Think >= 0,
	}
}

func plainData(text string) any {
	var v any
	read(text, &v)
	return clipAny(v)
}
