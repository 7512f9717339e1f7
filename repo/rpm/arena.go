package rpm

import "strings"

// arena hands out strings that share larger allocations: a package has hundreds of short ones, and they are kept or
// dropped together. A string keeps its chunk alive.
type arena struct{ b strings.Builder }

const chunk = 16 << 10

func (a *arena) put(v []byte) string {
	if len(v) == 0 {
		return ""
	}
	if a.b.Len()+len(v) > a.b.Cap() { // a full builder would move what it has: start another
		if len(v) > chunk/4 {
			return string(v)
		}
		a.b = strings.Builder{}
		a.b.Grow(chunk)
	}
	from := a.b.Len()
	a.b.Write(v)
	return a.b.String()[from:]
}
