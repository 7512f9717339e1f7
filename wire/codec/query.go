package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"oakum.dev/awserr"
)

// DecodeForm reads the members of a query-protocol request into a new input of o: lists are
// Name.member.1, structures Name.Member. Members that the input lacks are ignored.
func (o *Operation) DecodeForm(form url.Values) (Shape, error) {
	in := o.NewInput()
	if err := formStruct(form, "", reflect.ValueOf(in).Elem(), 0); err != nil {
		return nil, err
	}
	return in, nil
}

func malformed(format string, args ...any) error {
	return awserr.New("MalformedQueryString", 400, format, args...)
}

func wireName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func formStruct(form url.Values, prefix string, v reflect.Value, depth int) error {
	if depth > maxDepth {
		return malformed("The query string is nested too deeply")
	}
	for i := range v.NumField() {
		if err := formValue(form, prefix+wireName(v.Type().Field(i)), v.Field(i), depth); err != nil {
			return err
		}
	}
	return nil
}

func hasPrefix(form url.Values, prefix string) bool {
	for name := range form {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func formValue(form url.Values, name string, v reflect.Value, depth int) error {
	switch v.Kind() {
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b, err := base64.StdEncoding.DecodeString(form.Get(name))
			if err != nil {
				return malformed("%s is not base64", name)
			}
			if form.Has(name) {
				v.SetBytes(b)
			}
			return nil
		}
		for n := 1; ; n++ {
			key := name + ".member." + strconv.Itoa(n)
			if !form.Has(key) && !hasPrefix(form, key+".") {
				return nil
			}
			elem := reflect.New(v.Type().Elem()).Elem()
			if err := formValue(form, key, elem, depth+1); err != nil {
				return err
			}
			v.Set(reflect.Append(v, elem))
		}
	case reflect.Struct:
		return formStruct(form, name+".", v, depth+1)
	case reflect.Pointer:
		if v.Type().Elem().Kind() == reflect.Struct && v.Type() != reflect.TypeFor[*Time]() {
			if !hasPrefix(form, name+".") {
				return nil
			}
			v.Set(reflect.New(v.Type().Elem()))
			return formStruct(form, name+".", v.Elem(), depth+1)
		}
		if !form.Has(name) {
			return nil
		}
		p := reflect.New(v.Type().Elem())
		if err := formScalar(name, form.Get(name), p.Elem()); err != nil {
			return err
		}
		v.Set(p)
		return nil
	case reflect.Map:
		return nil // no query operation that is served has one
	default:
		return formScalar(name, form.Get(name), v)
	}
}

func formScalar(name, text string, v reflect.Value) error {
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = text
	case *int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return malformed("%s is not a number", name)
		}
		*p = n
	case *bool:
		if text != "true" && text != "false" {
			return malformed("%s is neither true nor false", name)
		}
		*p = text == "true"
	case *Time:
		t, err := ParseTimeString(text)
		if err != nil {
			return malformed("%s is not an ISO 8601 time", name)
		}
		*p = t
	}
	return nil
}

// XML returns the query-protocol answer that holds out.
func (o *Operation) XML(out any, requestID string) []byte {
	var b bytes.Buffer
	b.WriteString("<" + o.Name + `Response xmlns="` + o.Namespace + `"><` + o.Name + "Result>")
	xmlStruct(&b, reflect.ValueOf(out))
	b.WriteString("</" + o.Name + "Result><ResponseMetadata><RequestId>")
	escape(&b, requestID)
	b.WriteString("</RequestId></ResponseMetadata></" + o.Name + "Response>")
	return b.Bytes()
}

// ErrorXML returns the query-protocol error answer.
func ErrorXML(namespace, kind, code, message, requestID string) []byte {
	var b bytes.Buffer
	b.WriteString(`<ErrorResponse xmlns="`)
	escape(&b, namespace)
	b.WriteString(`"><Error>`)
	for _, e := range [][2]string{{"Type", kind}, {"Code", code}, {"Message", message}} {
		b.WriteString("<" + e[0] + ">")
		escape(&b, e[1])
		b.WriteString("</" + e[0] + ">")
	}
	b.WriteString("</Error><RequestId>")
	escape(&b, requestID)
	b.WriteString("</RequestId></ErrorResponse>")
	return b.Bytes()
}

func escape(b *bytes.Buffer, s string) {
	_ = xml.EscapeText(b, []byte(s)) // a bytes.Buffer does not fail
}

func xmlStruct(b *bytes.Buffer, v reflect.Value) {
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	for i := range v.NumField() {
		f := v.Field(i)
		if f.IsZero() {
			continue
		}
		name := wireName(v.Type().Field(i))
		b.WriteString("<" + name + ">")
		xmlValue(b, f)
		b.WriteString("</" + name + ">")
	}
}

func xmlValue(b *bytes.Buffer, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case string:
		escape(b, x)
	case int64:
		b.WriteString(strconv.FormatInt(x, 10))
	case bool:
		b.WriteString(strconv.FormatBool(x))
	case Time:
		b.WriteString(x.UTC().Format(time.RFC3339))
	case []byte:
		b.WriteString(base64.StdEncoding.EncodeToString(x))
	default:
		switch v.Kind() {
		case reflect.Slice:
			for i := range v.Len() {
				b.WriteString("<member>")
				xmlValue(b, v.Index(i))
				b.WriteString("</member>")
			}
		case reflect.Struct:
			xmlStruct(b, v)
		}
	}
}
