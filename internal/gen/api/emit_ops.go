package main

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

const defaultBodyLimit = 256 << 10

// emitOperations writes the rows of the operation table and the Handlers that fill it.
func (g *generator) emitOperations(b *bytes.Buffer) {
	fmt.Fprintf(b, "// Package %s %s\npackage %[1]s\n\nimport (\n\"context\"\n\n\"oakum.dev/wire/codec\"\n)\n\n", g.Package, g.Doc)
	b.WriteString("// Handlers are the implementations of the operations; a nil one is not served.\ntype Handlers struct {\n")
	for _, n := range g.opNames() {
		fmt.Fprintf(b, "\t%s func(context.Context, *%[1]sInput) (*%[1]sOutput, error)\n", n)
	}
	b.WriteString("}\n\n// Operations returns the rows of the operations that have a handler.\nfunc (h *Handlers) Operations() []codec.Operation {\n\tvar ops []codec.Operation\n")
	for _, n := range g.opNames() {
		fmt.Fprintf(b, "\tif h.%s != nil {\n\t\tops = append(ops, codec.Bind(op%[1]s(), h.%[1]s))\n\t}\n", n)
	}
	b.WriteString("\treturn ops\n}\n\n// Table returns the rows of every operation of this package, bound to no handler.\nfunc Table() []codec.Operation {\n\treturn []codec.Operation{\n")
	for _, n := range g.opNames() {
		fmt.Fprintf(b, "\t\top%s(),\n", n)
	}
	b.WriteString("\t}\n}\n\n")
	for _, n := range g.opNames() {
		g.emitOperation(b, n)
	}
}

func (g *generator) emitOperation(b *bytes.Buffer, n string) {
	c, op := g.service.Operations[n], g.model.Operations[n]
	in := g.Shapes[op.Input.Shape]
	readOnly := strings.HasPrefix(n, "Get") || strings.HasPrefix(n, "List") || strings.HasPrefix(n, "Describe")
	if c.ReadOnly != nil {
		readOnly = *c.ReadOnly
	}
	limit := c.BodyLimit
	if limit == 0 {
		limit = defaultBodyLimit
	}
	var f []string
	add := func(format string, args ...any) { f = append(f, fmt.Sprintf(format, args...)) }
	add("Service: %q, Name: %q, Action: %q, Version: %q", g.Signing, n, cmp.Or(g.Actions, g.Signing)+":"+n, g.Metadata.APIVersion)
	switch g.Metadata.Protocol {
	case "query":
		add("Protocol: codec.Query, Namespace: %q", g.Metadata.XMLNamespace)
	case "rest-json":
		add("Protocol: codec.RESTJSON, Method: %q, Path: %q", op.HTTP.Method, op.HTTP.RequestURI)
		if p := g.params(in); p != "" {
			add("Params: []codec.Param{%s}", p)
		}
	default:
		add("Protocol: codec.JSON11, TargetPrefix: %q", g.Metadata.TargetPrefix)
	}
	if g.Invalid != "" {
		add("Invalid: %q", g.Invalid)
	}
	add("ReadOnly: %t, NodeOwn: %t, Quiet: %t, BodyLimit: %d", readOnly, c.NodeOwn, c.Quiet, limit)
	add("Auth: %s", map[string]string{"": "codec.SigV4", "anonymous": "codec.Anonymous", "nodeKey": "codec.NodeKey"}[c.Auth])
	if in.Members.find("NextToken") != nil {
		if m := in.Members.find("MaxResults"); m != nil {
			s := g.Shapes[m.Shape]
			low, high := "0", "0"
			if s.Min != nil {
				low = s.Min.String()
			}
			if s.Max != nil {
				high = s.Max.String()
			}
			add("Paginated: true, MinResults: %s, MaxResults: %s", low, high)
		}
	}
	for _, m := range in.Members {
		if m.IdempotencyToken || m.name == "ClientToken" {
			add("IdempotencyToken: %q", m.name)
		}
	}
	if s := g.sensitivePaths(op.Input.Shape, "", nil); len(s) > 0 {
		add("Sensitive: []string{%s}", quoted(s))
	}
	var errs []string
	for _, e := range op.Errors {
		errs = append(errs, e.Shape)
	}
	slices.Sort(errs)
	if errs = slices.Compact(errs); len(errs) > 0 {
		add("Errors: []string{%s}", quoted(errs))
	}
	add("NewInput: func() codec.Shape { return new(%sInput) }", n)
	add("NewOutput: func() codec.Decodable { return new(%sOutput) }", n)
	if ids := g.nodeIDs(n, in); ids != "" {
		add("NodeIDs: func(in codec.Shape) []string {\nv := in.(*%sInput)\nvar ids []string\n%sreturn ids\n}", n, ids)
	}
	if res := g.resources(n, in); res != "" {
		add("Resources: func(in codec.Shape, account, region string) []string {\nv := in.(*%sInput)\nvar arns []string\n%sreturn arns\n}", n, res)
	}
	fmt.Fprintf(b, "func op%s() codec.Operation {\n\treturn codec.Operation{\n\t\t%s,\n\t}\n}\n\n", n, strings.Join(f, ",\n\t\t"))
}

// params lists the members of a rest-json input that are not in its body.
func (g *generator) params(in *shape) string {
	var out []string
	for _, m := range in.Members {
		if m.Location == "uri" || m.Location == "querystring" {
			out = append(out, fmt.Sprintf("{Member: %q, Name: %q, InPath: %t, Number: %t}", m.name, m.LocationName, m.Location == "uri", g.Shapes[m.Shape].Type == "integer"))
		}
	}
	return strings.Join(out, ", ")
}

// sensitivePaths lists the members below a shape that must not be logged.
func (g *generator) sensitivePaths(name, prefix string, seen []string) (out []string) {
	if slices.Contains(seen, name) {
		return nil
	}
	seen = append(slices.Clone(seen), name)
	s := g.Shapes[name]
	for _, m := range s.Members {
		if g.sensitive(name, m) {
			out = append(out, prefix+m.name)
			continue
		}
		t := m.Shape
		for g.Shapes[t].Type == "list" || g.Shapes[t].Type == "map" {
			if g.Shapes[t].Type == "list" {
				t = g.Shapes[t].Member.Shape
			} else {
				t = g.Shapes[t].Value.Shape
			}
		}
		out = append(out, g.sensitivePaths(t, prefix+m.name+".", seen)...)
	}
	return out
}

// nodeIDs returns the statements that collect the managed nodes an input names.
func (g *generator) nodeIDs(op string, in *shape) string {
	var b strings.Builder
	for _, m := range in.Members {
		f := "v." + upper(m.name)
		switch m.name {
		case "InstanceId", "Destination", "Target":
			if g.Shapes[m.Shape].Type == "string" {
				fmt.Fprintf(&b, "ids = codec.AppendID(ids, %s)\n", f)
			}
		case "InstanceIds":
			fmt.Fprintf(&b, "ids = append(ids, %s...)\n", f)
		case "MessageId":
			fmt.Fprintf(&b, "ids = codec.AppendMessageNode(ids, %s)\n", f)
		case "ResourceId":
			if g.service.Operations[op].NodeOwn {
				fmt.Fprintf(&b, "ids = codec.AppendID(ids, %s)\n", f)
			} else if in.Members.find("ResourceType") != nil {
				fmt.Fprintf(&b, "if codec.Value(v.ResourceType) == \"ManagedInstance\" {\nids = codec.AppendID(ids, %s)\n}\n", f)
			}
		}
	}
	return b.String()
}

// resources returns the statements that collect the ARNs an input names.
func (g *generator) resources(op string, in *shape) string {
	var b strings.Builder
	one := func(kind, f string) {
		fmt.Fprintf(&b, "arns = codec.ResourceARN(arns, %q, %s, account, region)\n", kind, f)
	}
	many := func(kind, f string) {
		fmt.Fprintf(&b, "for i := range %s {\narns = codec.ResourceARN(arns, %q, &%[1]s[i], account, region)\n}\n", f, kind)
	}
	if g.Signing != "ssm" && g.Signing != "oakum" && g.Signing != "sts" {
		return ""
	}
	for _, m := range in.Members {
		f := "v." + upper(m.name)
		isString := g.Shapes[m.Shape].Type == "string"
		switch {
		case m.name == "BaselineId":
			one("patchbaseline", f)
		case m.name == "InstanceId" || m.name == "Target" && isString:
			one("managed-instance", f)
		case m.name == "InstanceIds":
			many("managed-instance", f)
		case m.name == "DocumentName" || m.name == "Name" && strings.Contains(op, "Document"):
			one("document", f)
		case m.name == "WindowId":
			one("maintenancewindow", f)
		case m.name == "SettingId":
			one("servicesetting", f)
		case m.name == "AssociationId" && isString:
			one("association", f)
		case m.name == "Names" && op == "GetParameters":
			many("parameter", f)
		case m.name == "ResourceId" && in.Members.find("ResourceType") != nil:
			fmt.Fprintf(&b, "arns = codec.TaggedARN(arns, v.ResourceType, %s, account, region)\n", f)
		case m.name == "RoleArn":
			fmt.Fprintf(&b, "if %s != nil {\narns = append(arns, *%[1]s)\n}\n", f)
		}
	}
	return b.String()
}
