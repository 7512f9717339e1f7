package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"oakum.dev/awserr"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ec2messages"
	"oakum.dev/wire/oakum"
	"oakum.dev/wire/ssm"
	"oakum.dev/wire/sts"
)

// breach is one way to break one constraint of an operation's input.
type breach struct {
	value    any    // the input
	fragment string // of the message
	code     string
}

// breaches walks an input shape and calls report with every breach below it. wrap puts a value of the
// shape into a whole input.
type breaches struct {
	*generator
	enumErrors map[string]string
	report     func(breach)
}

func (b *breaches) walk(name, path string, hide bool, seen []string, wrap func(any) any) {
	s := b.Shapes[name]
	hide = hide || s.Sensitive
	if len(seen) > 12 || slices.Contains(seen, name) {
		return
	}
	seen = append(slices.Clone(seen), name)
	say := func(value any, rule string) {
		lead := "' at '" + path
		if hide {
			lead = "Value at '" + path
		}
		code := "ValidationException"
		if strings.Contains(rule, "enum") && b.enumErrors[path] != "" {
			code = b.enumErrors[path]
		}
		b.report(breach{wrap(value), lead + "' failed to satisfy constraint: " + rule, code})
	}
	switch s.Type {
	case "structure":
		for _, m := range s.Members {
			b.member(name, m, path, hide, seen, wrap)
		}
	case "string":
		for value, rule := range b.badStrings(s) {
			say(value, rule)
		}
	case "integer", "long":
		if s.Max != nil {
			n, _ := s.Max.Int64()
			if n < 1<<31-1 {
				say(n+1, "Member must have value less than or equal to "+s.Max.String())
			}
		}
		if s.Min != nil {
			n, _ := s.Min.Int64()
			say(n-1, "Member must have value greater than or equal to "+s.Min.String())
		}
	case "list":
		b.sizes(s, say, func(n int) any { return fill(b.zero(s.Member.Shape), n) })
		if elem := b.Shapes[s.Member.Shape]; elem.Type == "string" {
			for value := range b.badStrings(elem) {
				hide = hide || elem.Sensitive
				say([]any{value}, "Member must satisfy constraint: [Member must ")
			}
			return
		}
		b.walk(s.Member.Shape, path+".1.member", hide, seen, func(v any) any { return wrap([]any{v}) })
	case "map":
		b.sizes(s, say, func(n int) any {
			out := map[string]any{}
			for i := range n {
				out[fmt.Sprintf("key%d", i)] = b.zero(s.Value.Shape)
			}
			return out
		})
		for value := range b.badStrings(b.Shapes[s.Key.Shape]) {
			say(map[string]any{value: b.zero(s.Value.Shape)}, "Map keys must satisfy constraint: [")
		}
		b.walk(s.Value.Shape, path+".Key1.member", hide, seen, func(v any) any { return wrap(map[string]any{"Key1": v}) })
	}
}

func (b *breaches) member(name string, m member, path string, hide bool, seen []string, wrap func(any) any) {
	sub := strings.TrimPrefix(path+"."+lower(m.name), ".")
	if slices.Contains(b.Shapes[name].Required, m.name) {
		b.report(breach{wrap(map[string]any{}), "Value null at '" + sub + "' failed to satisfy constraint: Member must not be null", "ValidationException"})
	}
	b.walk(m.Shape, sub, hide || b.sensitive(name, m), seen, func(v any) any { return wrap(map[string]any{m.name: v}) })
}

func (b *breaches) sizes(s *shape, say func(any, string), make func(int) any) {
	if s.Max != nil {
		if n, _ := s.Max.Int64(); n <= 20_000 {
			say(make(int(n)+1), "Member must have length less than or equal to "+s.Max.String())
		}
	}
	if s.Min != nil {
		if n, _ := s.Min.Int64(); n > 0 {
			say(make(int(n)-1), "Member must have length greater than or equal to "+s.Min.String())
		}
	}
}

func fill(v any, n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = v
	}
	return out
}

// zero is a value that decodes; whether it is valid is of no matter, since messages name every breach.
func (b *breaches) zero(name string) any {
	switch b.Shapes[name].Type {
	case "structure", "map":
		return map[string]any{}
	case "list":
		return []any{}
	case "integer", "long", "timestamp":
		return 1
	case "boolean":
		return true
	}
	return "x"
}

// badStrings returns strings that break a constraint each, with the rule that they break.
func (b *breaches) badStrings(s *shape) map[string]string {
	out := map[string]string{}
	if s.Max != nil {
		if n, _ := s.Max.Int64(); n <= 20_000 {
			out[strings.Repeat("é", int(n)+1)] = "Member must have length less than or equal to " + s.Max.String()
		}
	}
	if s.Min != nil {
		if n, _ := s.Min.Int64(); n > 0 {
			out[strings.Repeat("é", int(n)-1)] = "Member must have length greater than or equal to " + s.Min.String()
		}
	}
	if s.Pattern != "" {
		p := codec.Pattern{Text: s.Pattern}
		for _, v := range []string{"\x01", "\n", "é!", ""} {
			if !p.Match(v) && out[v] == "" {
				out[v] = "Member must satisfy regular expression pattern: " + s.Pattern
				break
			}
		}
	}
	if len(s.Enum) > 0 {
		out["no such value"] = "Member must satisfy enum value set: [" + strings.Join(s.Enum, ", ") + "]"
	}
	return out
}

// TestEveryConstraintIsEnforced breaks each constraint of each operation and looks for it in the message.
func TestEveryConstraintIsEnforced(t *testing.T) {
	tables := map[string][]codec.Operation{"ssm": ssm.Table(), "sts": sts.Table(), "ec2messages": ec2messages.Table(), "oakum": oakum.Table()}
	total := 0
	for _, g := range models(t) {
		for _, op := range tables[g.Package] {
			codes := map[string]string{}
			for m, code := range g.service.Operations[op.Name].EnumErrors {
				codes[lower(m)] = code
			}
			b := &breaches{generator: g, enumErrors: codes}
			b.report = func(br breach) {
				total++
				body, err := json.Marshal(br.value)
				if err != nil {
					t.Fatal(err)
				}
				in, err := op.Decode(body)
				if err != nil {
					t.Errorf("%s: decode %.200s: %v", op.Name, body, err)
					return
				}
				err = in.Validate()
				e := awserr.From(err)
				if err == nil || !strings.Contains(e.Message, br.fragment) {
					t.Errorf("%s: Validate(%.200s) = %.300v, want %q in it", op.Name, body, err, br.fragment)
					return
				}
				if e.Code != br.code && e.Code != "ValidationException" || br.code == "ValidationException" && e.Code != br.code {
					t.Errorf("%s: Validate(%.200s) has code %s, want %s", op.Name, body, e.Code, br.code)
				}
			}
			in := g.model.Operations[op.Name].Input
			if in == nil {
				continue
			}
			b.walk(in.Shape, "", false, nil, func(v any) any { return v })
		}
	}
	if total < 900 {
		t.Errorf("only %d breaches tried", total)
	}
	t.Logf("%d breaches", total)
}
