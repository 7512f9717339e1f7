// Package pkgver orders version strings the way the package managers do. It compares, and nothing else: it
// neither validates nor normalises. Nothing in it allocates. Start with Dpkg or RPM.
package pkgver

// Text is what a version may be given as; metadata readers compare the bytes of their buffer.
type Text interface{ ~string | ~[]byte }

// Dpkg compares two Debian versions ([epoch:]upstream[-revision]) and returns -1, 0 or +1. A missing epoch is 0,
// a missing revision is the same as "0", and "~" sorts before everything, the end of the string included.
// Source: Debian Policy 5.6.12.
func Dpkg[T Text](a, b T) int {
	ae, be := indexByte(a, 0, len(a), ':'), indexByte(b, 0, len(b), ':')
	ai, bi := ae+1, be+1 // behind the colon, or 0
	if c := dpkgPart(a, 0, max(ae, 0), b, 0, max(be, 0)); c != 0 {
		return c
	}
	ar, br := lastDash(a, ai), lastDash(b, bi)
	if c := dpkgPart(a, ai, ar, b, bi, br); c != 0 {
		return c
	}
	return dpkgPart(a, min(ar+1, len(a)), len(a), b, min(br+1, len(b)), len(b))
}

// indexByte returns the index of c in s[i:end] counted from the start of s, or -1.
func indexByte[T Text](s T, i, end int, c byte) int {
	for ; i < end; i++ {
		if s[i] == c {
			return i
		}
	}
	return -1
}

// lastDash returns the index of the last "-" of s at or after from, or len(s).
func lastDash[T Text](s T, from int) int {
	for i := len(s) - 1; i >= from; i-- {
		if s[i] == '-' {
			return i
		}
	}
	return len(s)
}

// dpkgPart compares a[i:ae] with b[j:be]: runs of non-digits by weight, runs of digits by value, in turn.
func dpkgPart[T Text](a T, i, ae int, b T, j, be int) int {
	for i < ae || j < be {
		for (i < ae && !digit(a[i])) || (j < be && !digit(b[j])) {
			x, y := 0, 0
			if i < ae {
				x = weight(a[i])
			}
			if j < be {
				y = weight(b[j])
			}
			if x != y {
				return sign(x - y)
			}
			i++
			j++
		}
		for i < ae && a[i] == '0' {
			i++
		}
		for j < be && b[j] == '0' {
			j++
		}
		first := 0
		for i < ae && j < be && digit(a[i]) && digit(b[j]) {
			if first == 0 {
				first = int(a[i]) - int(b[j])
			}
			i++
			j++
		}
		switch {
		case i < ae && digit(a[i]):
			return 1
		case j < be && digit(b[j]):
			return -1
		case first != 0:
			return sign(first)
		}
	}
	return 0
}

// weight orders one byte of a non-digit run: "~", then the end (and a digit, which ends the run), letters, the rest.
func weight(c byte) int {
	switch {
	case digit(c):
		return 0
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		return int(c)
	case c == '~':
		return -1
	}
	return int(c) + 256
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
