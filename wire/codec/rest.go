package codec

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"oakum.dev/awserr"
)

// MatchPath reports whether the escaped path of a request is that of the operation, whatever stands before it, and
// returns its parameters by their names. A segment is not unescaped before it is found: %2F does not part segments.
func (o *Operation) MatchPath(escaped string) (map[string]string, bool) {
	want, have := strings.Split(strings.Trim(o.Path, "/"), "/"), strings.Split(strings.Trim(escaped, "/"), "/")
	if len(have) < len(want) {
		return nil, false
	}
	have = have[len(have)-len(want):]
	params := map[string]string{}
	for i, w := range want {
		if name, ok := strings.CutPrefix(w, "{"); ok {
			v, err := url.PathUnescape(have[i])
			if err != nil || v == "" {
				return nil, false
			}
			params[strings.TrimSuffix(name, "}")] = v
		} else if have[i] != w {
			return nil, false
		}
	}
	return params, true
}

// DecodeREST reads the input of a RESTJSON request: its body, and what is in its path and query string, which wins.
func (o *Operation) DecodeREST(body []byte, path map[string]string, query url.Values) (Shape, error) {
	in := o.NewInput()
	if len(body) > 0 {
		if err := Unmarshal(body, in); err != nil {
			return nil, err
		}
	}
	members := map[string]any{}
	for _, p := range o.Params {
		v, ok := path[p.Name]
		if !p.InPath {
			v, ok = query.Get(p.Name), query.Has(p.Name)
		}
		switch {
		case !ok:
		case p.Number:
			n, err := strconv.ParseInt(v, 10, 32)
			if err != nil {
				return nil, awserr.Serialization("%s must be a whole number", p.Name)
			}
			members[p.Member] = n
		default:
			members[p.Member] = v
		}
	}
	if len(members) == 0 {
		return in, nil
	}
	text, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	return in, Unmarshal(text, in)
}
