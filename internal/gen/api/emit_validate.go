package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// emitValidate writes Validate of inputs and validate of every structure that inputs reach.
func (g *generator) emitValidate(b *bytes.Buffer) {
	var body bytes.Buffer
	for _, name := range g.shapes {
		if !g.inputs[name] {
			continue
		}
		t := g.goName[name]
		_, isInput := g.inOut[t]
		if isInput {
			fmt.Fprintf(&body, "// Validate returns a ValidationException for every constraint of the model that v breaks.\nfunc (v *%s) Validate() error {\n", t)
			if !g.constrained(name, nil) {
				body.WriteString("\treturn nil\n}\n\n")
				continue
			}
			body.WriteString("\tvar e codec.Violations\n\tv.validate(&e, nil)\n\treturn e.Err()\n}\n\n")
		}
		if !g.constrained(name, nil) {
			continue
		}
		fmt.Fprintf(&body, "func (v *%s) validate(e *codec.Violations, at *codec.Path) {\n", t)
		for _, m := range g.Shapes[name].Members {
			g.emitMember(&body, name, m)
		}
		body.WriteString("}\n\n")
	}
	fmt.Fprintf(b, "package %s\n\n", g.Package)
	if bytes.Contains(body.Bytes(), []byte("codec.")) {
		b.WriteString("import \"oakum.dev/wire/codec\"\n\n")
	}
	if len(g.consts) > 0 {
		b.WriteString("// The constraints of the model.\nvar (\n")
		for i, c := range g.consts {
			fmt.Fprintf(b, "\tc%d = %s\n", i, c)
		}
		b.WriteString(")\n\n")
	}
	b.Write(body.Bytes())
}

func (g *generator) emitMember(b *bytes.Buffer, name string, m member) {
	f, path := "v."+upper(m.name), lower(m.name)
	required := slices.Contains(g.Shapes[name].Required, m.name)
	code := ""
	for opName, c := range g.service.Operations {
		if g.model.Operations[opName].Input.Shape == name {
			code = c.EnumErrors[m.name]
		}
	}
	var check bytes.Buffer
	s := g.Shapes[m.Shape]
	expr := f
	switch s.Type {
	case "string", "integer", "long":
		expr = "*" + f
	}
	g.emitCheck(&check, m.Shape, expr, "at", fmt.Sprintf("%q", path), g.sensitive(name, m), code, 0)
	switch {
	case required && check.Len() > 0:
		fmt.Fprintf(b, "\tif %s == nil {\n\t\te.Null(at, %q)\n\t} else {\n%s\t}\n", f, path, check.String())
	case required:
		fmt.Fprintf(b, "\tif %s == nil {\n\t\te.Null(at, %q)\n\t}\n", f, path)
	case check.Len() > 0:
		fmt.Fprintf(b, "\tif %s != nil {\n%s\t}\n", f, check.String())
	}
}

// emitCheck writes the checks of the value expr of a shape, which is called name below the path at.
func (g *generator) emitCheck(b *bytes.Buffer, shapeName, expr, at, name string, hide bool, code string, depth int) {
	s := g.Shapes[shapeName]
	hide = hide || s.Sensitive
	c := g.constraint(shapeName, hide, code)
	switch s.Type {
	case "string":
		if c != "" {
			fmt.Fprintf(b, "e.String(%s, %s, %s, %s)\n", at, name, expr, c)
		}
	case "integer", "long":
		if c != "" {
			fmt.Fprintf(b, "e.Int(%s, %s, %s, %s)\n", at, name, expr, c)
		}
	case "blob":
		if c != "" {
			fmt.Fprintf(b, "e.Len(%s, %s, len(%s), %s)\n", at, name, expr, c)
		}
	case "structure":
		if g.constrained(shapeName, nil) {
			fmt.Fprintf(b, "%s.validate(e, %s)\n", expr, sub(at, name))
		}
	case "list":
		g.emitList(b, s, c, expr, at, name, hide, depth)
	case "map":
		key := g.constraint(s.Key.Shape, hide, "")
		if c != "" || key != "" {
			fmt.Fprintf(b, "codec.Keys(e, %s, %s, %s, %s, %s)\n", at, name, expr, orNil(c), orNil(key))
		}
		if g.constrained(s.Value.Shape, nil) {
			k := fmt.Sprintf("k%d", depth)
			var inner bytes.Buffer
			p := fmt.Sprintf("p%d", depth)
			v := expr + "[" + k + "]"
			pre := ""
			if g.Shapes[s.Value.Shape].Type == "structure" {
				pre, v = fmt.Sprintf("s%d := %s\n", depth, v), fmt.Sprintf("s%d", depth)
			}
			g.emitCheck(&inner, s.Value.Shape, v, p, `""`, hide, "", depth+1)
			if inner.Len() > 0 {
				fmt.Fprintf(b, "for _, %s := range codec.Sorted(%s) {\n%s := %s.Entry(%s, %s)\n%s%s}\n", k, expr, p, at, name, k, pre, inner.String())
			}
		}
	}
}

func (g *generator) emitList(b *bytes.Buffer, s *shape, c, expr, at, name string, hide bool, depth int) {
	if g.Shapes[s.Member.Shape].Type == "string" {
		if elem := g.constraint(s.Member.Shape, hide, ""); c != "" || elem != "" {
			fmt.Fprintf(b, "e.Strings(%s, %s, %s, %s, %s)\n", at, name, expr, orNil(c), orNil(elem))
		}
		return
	}
	if c != "" {
		fmt.Fprintf(b, "e.Len(%s, %s, len(%s), %s)\n", at, name, expr, c)
	}
	if !g.constrained(s.Member.Shape, nil) {
		return
	}
	i, p := fmt.Sprintf("i%d", depth), fmt.Sprintf("p%d", depth)
	var inner bytes.Buffer
	g.emitCheck(&inner, s.Member.Shape, expr+"["+i+"]", p, `""`, hide, "", depth+1)
	if inner.Len() > 0 {
		fmt.Fprintf(b, "for %s := range %s {\n%s := %s.Elem(%s, %s)\n%s}\n", i, expr, p, at, name, i, inner.String())
	}
}

func sub(at, name string) string {
	if name == `""` {
		return at
	}
	return at + ".Member(" + name + ")"
}

func orNil(c string) string {
	if c == "" {
		return "nil"
	}
	return c
}

// constraint returns the address of the variable with a shape's own constraints, "" if it has none.
func (g *generator) constraint(name string, hide bool, code string) string {
	s := g.Shapes[name]
	var f []string
	if s.Min != nil {
		f = append(f, "HasMin: true, Min: "+s.Min.String())
	}
	if s.Max != nil {
		f = append(f, "HasMax: true, Max: "+s.Max.String())
	}
	if s.Pattern != "" {
		f = append(f, fmt.Sprintf("Pattern: &codec.Pattern{Text: %q}", s.Pattern))
	}
	if len(s.Enum) > 0 {
		f = append(f, "Enum: []string{"+quoted(s.Enum)+"}")
	}
	if len(f) == 0 {
		return ""
	}
	if hide {
		f = append(f, "Sensitive: true")
	}
	if code != "" {
		f = append(f, fmt.Sprintf("EnumCode: %q", code))
	}
	text := "codec.Constraint{" + strings.Join(f, ", ") + "}"
	v := g.constN[text]
	if v == "" {
		v = fmt.Sprintf("&c%d", len(g.consts))
		g.constN[text] = v
		g.consts = append(g.consts, text)
	}
	return v
}

// constrained reports whether a shape or what it holds has any constraint.
func (g *generator) constrained(name string, seen map[string]bool) bool {
	s := g.Shapes[name]
	if seen[name] {
		return false
	}
	if s.Min != nil || s.Max != nil || s.Pattern != "" || len(s.Enum) > 0 || len(s.Required) > 0 {
		return true
	}
	next := map[string]bool{name: true}
	for k := range seen {
		next[k] = true
	}
	for _, r := range g.children(s) {
		if g.constrained(r.Shape, next) {
			return true
		}
	}
	return false
}
