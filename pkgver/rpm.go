package pkgver

// RPM compares two rpm versions ([epoch:]version[-release]) and returns -1, 0 or +1. A missing epoch is 0. "~"
// sorts before everything, "^" after the end of the string but before anything else that follows.
// Source: rpm's documentation of version comparison, rpm-version(7).
func RPM[T Text](a, b T) int {
	ae, be := rpmEpoch(a), rpmEpoch(b)
	if c := rpmEpochs(a, ae, b, be); c != 0 {
		return c
	}
	ai, bi := ae+1, be+1
	ar, br := lastDash(a, ai), lastDash(b, bi)
	if c := rpmPart(a, ai, ar, b, bi, br); c != 0 {
		return c
	}
	return rpmPart(a, min(ar+1, len(a)), len(a), b, min(br+1, len(b)), len(b))
}

// RPMPart compares two version (or two release) strings without epoch, as rpm's vercmp does.
func RPMPart[T Text](a, b T) int { return rpmPart(a, 0, len(a), b, 0, len(b)) }

// rpmEpoch returns the index of the colon that ends a numeric epoch, or -1.
func rpmEpoch[T Text](s T) int {
	i := 0
	for i < len(s) && digit(s[i]) {
		i++
	}
	if i < len(s) && s[i] == ':' {
		return i
	}
	return -1
}

func rpmEpochs[T Text](a T, ae int, b T, be int) int {
	switch {
	case ae < 1 && be < 1:
		return 0
	case ae < 1: // no epoch, or an empty one, is 0
		return -rpmPartZero(b, be)
	case be < 1:
		return rpmPartZero(a, ae)
	}
	return rpmPart(a, 0, ae, b, 0, be)
}

// rpmPartZero compares the epoch s[:end] with 0.
func rpmPartZero[T Text](s T, end int) int {
	for i := range end {
		if s[i] != '0' {
			return 1
		}
	}
	return 0
}

func rpmPart[T Text](a T, i, ae int, b T, j, be int) int {
	for i < ae || j < be {
		for i < ae && rpmSeparator(a[i]) {
			i++
		}
		for j < be && rpmSeparator(b[j]) {
			j++
		}
		at, bt := i < ae && a[i] == '~', j < be && b[j] == '~'
		if at || bt {
			if !at {
				return 1
			}
			if !bt {
				return -1
			}
			i++
			j++
			continue
		}
		ac, bc := i < ae && a[i] == '^', j < be && b[j] == '^'
		if ac || bc {
			switch {
			case i >= ae:
				return -1
			case j >= be:
				return 1
			case !ac:
				return 1
			case !bc:
				return -1
			}
			i++
			j++
			continue
		}
		if i >= ae || j >= be {
			break
		}
		is := digit(a[i])
		in := rpmRun(a, i, ae, is)
		jn := rpmRun(b, j, be, is)
		if jn == j { // runs of different kinds: the numeric one is newer
			if is {
				return 1
			}
			return -1
		}
		if c := rpmSegment(a, i, in, b, j, jn, is); c != 0 {
			return c
		}
		i, j = in, jn
	}
	switch {
	case i < ae:
		return 1
	case j < be:
		return -1
	}
	return 0
}

func rpmSegment[T Text](a T, i, in int, b T, j, jn int, numeric bool) int {
	if numeric {
		for i < in && a[i] == '0' {
			i++
		}
		for j < jn && b[j] == '0' {
			j++
		}
		if d := (in - i) - (jn - j); d != 0 {
			return sign(d)
		}
	}
	for ; i < in && j < jn; i, j = i+1, j+1 {
		if a[i] != b[j] {
			return sign(int(a[i]) - int(b[j]))
		}
	}
	return sign((in - i) - (jn - j))
}

func rpmRun[T Text](s T, i, end int, digits bool) int {
	for i < end && ((digits && digit(s[i])) || (!digits && letter(s[i]))) {
		i++
	}
	return i
}

func rpmSeparator(c byte) bool { return !digit(c) && !letter(c) && c != '~' && c != '^' }

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
