package baseline

import "strings"

// matchList reports whether an entry of an approved or rejected list names the patch, and whether it does so by the
// id of a notice (advisory, CVE, Bugzilla) rather than by package.
// Source: AWS Systems Manager User Guide, "Package name formats for approved and rejected patch lists".
func matchList(os OS, entries []string, p *Patch) (hit, byNotice bool) {
	if len(entries) == 0 {
		return false, false
	}
	var forms [][]byte
	for _, e := range entries {
		e = strings.ToLower(strings.TrimSpace(e))
		if e == "" {
			continue
		}
		for _, ids := range [][]string{p.AdvisoryIDs, p.CVEs, p.Bugzillas} {
			for _, id := range ids {
				if strings.EqualFold(id, e) || (os == SUSE && Glob(e, strings.ToLower(id))) {
					return true, true
				}
			}
		}
		if forms == nil {
			forms = p.forms(os)
		}
		if matchForms(os, e, forms) {
			hit = true
		}
	}
	return hit, false
}

func matchForms(os OS, entry string, forms [][]byte) bool {
	if os == SUSE {
		entry = strings.TrimSuffix(entry, ".rpm")
	}
	wild := strings.ContainsAny(entry, "*?[") && os != MacOS
	for _, f := range forms {
		if string(f) == entry || wild && Glob(entry, string(f)) {
			return true
		}
	}
	return false
}

// Forms returns the texts, in lower case, under which a list entry can name the patch.
func (p *Patch) Forms(os OS) []string {
	var out []string
	for _, f := range p.forms(os) {
		out = append(out, string(f))
	}
	return out
}

func (p *Patch) forms(os OS) [][]byte {
	n, a, v := p.Name, p.Arch, p.Version
	var out [][]byte
	add := func(parts ...string) { out = append(out, []byte(strings.ToLower(strings.Join(parts, "")))) }
	switch {
	case os == Windows:
		add(p.KB)
		add(p.Bulletin)
	case os == MacOS:
		add(n)
		add(n, ".", v)
	case os.Apt():
		add(n)
		add(n, ".", a)
		add(n, "-", v)
		add(n, ".", a, ":", v)
		add(v)
		add(a, ":", v)
	default:
		e, r := p.Epoch, p.Release
		if e == "" {
			e = "0"
		}
		add(n)
		add(n, ".", a)
		add(n, "-", v)
		add(n, "-", v, "-", r)
		add(n, "-", v, "-", r, ".", a)
		add(e, ":", n, "-", v, "-", r, ".", a)
		add(n, "-", e, ":", v, "-", r)
		add(n, "-", e, ":", v, "-", r, ".", a)
		add(n, ".", a, ":", e, ":", v, "-", r)
		add(v)
		add(v, "-", r)
		add(e, ":", v, "-", r)
	}
	return out
}

// Glob matches s against a pattern of *, ? and [set] with ranges and !; every other byte stands for itself. An
// unclosed [ is an ordinary byte. The whole of s must match.
func Glob(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		if p < len(pattern) {
			switch c := pattern[p]; c {
			case '*':
				star, mark = p, i
				p++
				continue
			case '?':
				p++
				i++
				continue
			case '[':
				if ok, n := globSet(pattern[p:], s[i]); n > 0 {
					if ok {
						p += n
						i++
						continue
					}
					break
				}
				fallthrough
			default:
				if c == s[i] {
					p++
					i++
					continue
				}
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// globSet matches c against the set at the start of pattern and returns the set's length, 0 when it is not closed.
func globSet(pattern string, c byte) (bool, int) {
	i, not, in := 1, false, false
	if i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^') {
		not = true
		i++
	}
	for first := true; i < len(pattern); first = false {
		if pattern[i] == ']' && !first {
			return in != not, i + 1
		}
		lo, hi := pattern[i], pattern[i]
		if i+2 < len(pattern) && pattern[i+1] == '-' && pattern[i+2] != ']' {
			hi = pattern[i+2]
			i += 2
		}
		in = in || lo <= c && c <= hi
		i++
	}
	return false, 0
}
