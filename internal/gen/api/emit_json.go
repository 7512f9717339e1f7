package main

import (
	"bytes"
	"fmt"
)

// emitJSON writes DecodeJSON and EncodeJSON of every structure.
func (g *generator) emitJSON(b *bytes.Buffer) {
	fmt.Fprintf(b, "package %s\n\nimport \"oakum.dev/wire/codec\"\n\n", g.Package)
	for _, name := range g.shapes {
		g.emitDecode(b, name)
		g.emitEncode(b, name)
	}
}

func (g *generator) emitDecode(b *bytes.Buffer, name string) {
	t, s := g.goName[name], g.Shapes[name]
	fmt.Fprintf(b, "// DecodeJSON reads v from d.\nfunc (v *%s) DecodeJSON(d *codec.Decoder) error {\n", t)
	if len(s.Members) == 0 {
		b.WriteString("\treturn d.Object(func(string) error { return d.Skip() })\n}\n\n")
		return
	}
	b.WriteString("\treturn d.Object(func(name string) error {\n\t\tswitch name {\n")
	for _, m := range s.Members {
		fmt.Fprintf(b, "\t\tcase %q:\n", m.name)
		f := "v." + upper(m.name)
		switch c := g.Shapes[m.Shape]; c.Type {
		case "structure":
			fmt.Fprintf(b, "\t\t\t%s = new(%s)\n\t\t\treturn %[1]s.DecodeJSON(d)\n", f, g.goName[m.Shape])
		case "timestamp":
			fmt.Fprintf(b, "\t\t\tt, err := d.Time()\n\t\t\t%s = t\n\t\t\treturn err\n", f)
		case "blob":
			fmt.Fprintf(b, "\t\t\tblob, err := d.Blob()\n\t\t\t%s = blob\n\t\t\treturn err\n", f)
		case "list":
			fmt.Fprintf(b, "\t\t\treturn codec.ReadList(d, &%s, %s)\n", f, g.decodeElem(c.Member.Shape))
		case "map":
			fmt.Fprintf(b, "\t\t\treturn codec.ReadMap(d, &%s, %s)\n", f, g.decodeElem(c.Value.Shape))
		default:
			fmt.Fprintf(b, "\t\t\treturn codec.Read%s(d, &%s)\n", scalar(c.Type), f)
		}
	}
	b.WriteString("\t\t}\n\t\treturn d.Skip()\n\t})\n}\n\n")
}

func scalar(typ string) string {
	switch typ {
	case "string", "character":
		return "String"
	case "integer":
		return "Int"
	case "long":
		return "Long"
	case "boolean":
		return "Bool"
	case "double", "float":
		return "Double"
	}
	panic("no scalar: " + typ)
}

func (g *generator) decodeElem(name string) string {
	switch s := g.Shapes[name]; s.Type {
	case "structure":
		return "(*" + g.goName[name] + ").DecodeJSON"
	case "list":
		return fmt.Sprintf("func(v *%s, d *codec.Decoder) error { return codec.ReadList(d, v, %s) }", g.elem(name), g.decodeElem(s.Member.Shape))
	case "map":
		return fmt.Sprintf("func(v *%s, d *codec.Decoder) error { return codec.ReadMap(d, v, %s) }", g.elem(name), g.decodeElem(s.Value.Shape))
	default:
		return "codec.Elem" + scalar(s.Type)
	}
}

func (g *generator) emitEncode(b *bytes.Buffer, name string) {
	t, s := g.goName[name], g.Shapes[name]
	fmt.Fprintf(b, "// EncodeJSON writes v to e.\nfunc (v *%s) EncodeJSON(e *codec.Encoder) {\n\te.Begin()\n", t)
	for _, m := range s.Members {
		f, key := "v."+upper(m.name), "Key"
		if g.sensitive(name, m) {
			key = "SensitiveKey"
		}
		var put string
		switch c := g.Shapes[m.Shape]; c.Type {
		case "structure":
			put = f + ".EncodeJSON(e)"
		case "timestamp":
			put = "e.Time(" + f + ")"
		case "blob":
			put = "e.Blob(" + f + ")"
		case "list":
			put = fmt.Sprintf("codec.WriteList(e, %s, %s)", f, g.encodeElem(c.Member.Shape))
		case "map":
			put = fmt.Sprintf("codec.WriteMap(e, %s, %s)", f, g.encodeElem(c.Value.Shape))
		case "integer", "long":
			put = "e.Int(*" + f + ")"
		default:
			put = fmt.Sprintf("e.%s(*%s)", scalar(c.Type), f)
		}
		fmt.Fprintf(b, "\tif %s != nil && e.%s(%q) {\n\t\t%s\n\t}\n", f, key, m.name, put)
	}
	b.WriteString("\te.End()\n}\n\n")
}

func (g *generator) encodeElem(name string) string {
	switch s := g.Shapes[name]; s.Type {
	case "structure":
		return "(*" + g.goName[name] + ").EncodeJSON"
	case "list":
		return fmt.Sprintf("func(v *%s, e *codec.Encoder) { codec.WriteList(e, *v, %s) }", g.elem(name), g.encodeElem(s.Member.Shape))
	case "map":
		return fmt.Sprintf("func(v *%s, e *codec.Encoder) { codec.WriteMap(e, *v, %s) }", g.elem(name), g.encodeElem(s.Value.Shape))
	case "integer", "long":
		return "codec.PutInt"
	default:
		return "codec.Put" + scalar(s.Type)
	}
}
