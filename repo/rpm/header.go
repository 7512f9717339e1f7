package rpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// maxHeader bounds one package's header in the database; a package of 100,000 files has about 20 MB.
const maxHeader = 64 << 20

// maxRelations bounds those of all packages of a database together: a hostile one names each with a single byte and would
// take a hundred times its size. A machine with 3,000 packages has 300,000.
const maxRelations = 4 << 20

// Tags of a header that are read, and the kinds of their values. Source: rpm's documentation of the header format
// and of its tags.
const (
	tagName            = 1000
	tagVersion         = 1001
	tagRelease         = 1002
	tagEpoch           = 1003
	tagBuildTime       = 1006
	tagInstallTime     = 1008
	tagSize            = 1009
	tagVendor          = 1011
	tagArch            = 1022
	tagOldFilenames    = 1027
	tagSourceRPM       = 1044
	tagProvideName     = 1047
	tagRequireFlags    = 1048
	tagRequireName     = 1049
	tagRequireVersion  = 1050
	tagConflictFlags   = 1053
	tagConflictName    = 1054
	tagConflictVersion = 1055
	tagObsoleteName    = 1090
	tagProvideFlags    = 1112
	tagProvideVersion  = 1113
	tagObsoleteFlags   = 1114
	tagObsoleteVersion = 1115
	tagDirIndexes      = 1116
	tagBasenames       = 1117
	tagDirnames        = 1118
	tagLongSize        = 5009
	tagModularityLabel = 5096

	kindInt32       = 4
	kindInt64       = 5
	kindString      = 6
	kindStringArray = 8
	kindI18N        = 9

	senseLess       = 1 << 1
	senseGreater    = 1 << 2
	senseEqual      = 1 << 3
	sensePrereq     = 1 << 6
	senseScriptPre  = 1 << 9
	senseScriptPost = 1 << 10
	senseRPMLib     = 1 << 24

	headerEntry      = 16
	maxHeaderEntries = 1 << 16
)

// entry is where the value of a tag lies.
type entry struct {
	kind, offset, count uint32
}

// header is one package of the database.
type header struct {
	tags [tagDirnames - tagName + 3]entry // by place; of kind 0 when the package has no such tag
	data []byte
}

// place is where header keeps the entry of a tag; -1 when the tag is not read.
func place(tag uint32) int {
	switch {
	case tag >= tagName && tag <= tagDirnames:
		return int(tag - tagName)
	case tag == tagLongSize:
		return tagDirnames - tagName + 1
	case tag == tagModularityLabel:
		return tagDirnames - tagName + 2
	}
	return -1
}

// parse takes the index of a header apart. The data is checked when a value is read.
func (h *header) parse(b []byte) error {
	if len(b) < 8 {
		return errors.New("header is cut off")
	}
	entries, size := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if entries > maxHeaderEntries || size > maxHeader || int64(len(b)) != 8+headerEntry*int64(entries)+int64(size) {
		return fmt.Errorf("header of %d bytes says that it has %d entries and %d bytes of data", len(b), entries, size)
	}
	clear(h.tags[:])
	index := b[8 : 8+headerEntry*entries]
	h.data = b[8+headerEntry*entries:]
	for ; len(index) > 0; index = index[headerEntry:] {
		i := place(binary.BigEndian.Uint32(index))
		if i < 0 {
			continue
		}
		// What was added at installation stands last and replaces what the package brought.
		h.tags[i] = entry{binary.BigEndian.Uint32(index[4:]), binary.BigEndian.Uint32(index[8:]), binary.BigEndian.Uint32(index[12:])}
	}
	return nil
}

// bytesOf returns the data at which the value of a tag starts; false when the package has no such tag.
func (h *header) bytesOf(tag uint32, kinds ...uint32) ([]byte, uint32, bool, error) {
	e := h.tags[place(tag)]
	if e.kind == 0 {
		return nil, 0, false, nil
	}
	right := false
	for _, k := range kinds {
		right = right || e.kind == k
	}
	if !right || uint64(e.offset) > uint64(len(h.data)) || uint64(e.count) > uint64(len(h.data)) {
		return nil, 0, false, fmt.Errorf("header: tag %d has kind %d at %d, %d times, in %d bytes", tag, e.kind, e.offset, e.count, len(h.data))
	}
	return h.data[e.offset:], e.count, true, nil
}

// str reads a string; without the tag it is empty.
func (h *header) str(tag uint32) ([]byte, error) {
	b, _, ok, err := h.bytesOf(tag, kindString, kindI18N, kindStringArray)
	if !ok {
		return nil, err
	}
	end := bytes.IndexByte(b, 0)
	if end < 0 {
		return nil, fmt.Errorf("header: the text of tag %d does not end", tag)
	}
	return b[:end], nil
}

// strs calls fn with each string of an array.
func (h *header) strs(tag uint32, fn func(i int, s []byte)) (count int, err error) {
	b, n, ok, err := h.bytesOf(tag, kindStringArray, kindString, kindI18N)
	if !ok {
		return 0, err
	}
	for i := range int(n) {
		end := bytes.IndexByte(b, 0)
		if end < 0 {
			return 0, fmt.Errorf("header: tag %d has fewer texts than it says", tag)
		}
		fn(i, b[:end])
		b = b[end+1:]
	}
	return int(n), nil
}

// num reads a number of 4 or 8 bytes; without the tag ok is false.
func (h *header) num(tag uint32) (n int64, ok bool, err error) {
	b, count, ok, err := h.bytesOf(tag, kindInt32, kindInt64)
	if !ok {
		return 0, false, err
	}
	if wide := h.tags[place(tag)].kind == kindInt64; count > 0 && wide && len(b) >= 8 {
		return int64(binary.BigEndian.Uint64(b)), true, nil
	} else if count > 0 && !wide && len(b) >= 4 {
		return int64(binary.BigEndian.Uint32(b)), true, nil
	}
	return 0, false, fmt.Errorf("header: the number of tag %d is cut off", tag)
}

// nums returns the bytes of an array of numbers of 4 bytes.
func (h *header) nums(tag uint32) ([]byte, error) {
	b, count, ok, err := h.bytesOf(tag, kindInt32)
	if !ok {
		return nil, err
	}
	if uint64(len(b)) < 4*uint64(count) {
		return nil, fmt.Errorf("header: the numbers of tag %d are cut off", tag)
	}
	return b[:4*count], nil
}

// reader turns headers into packages.
type reader struct {
	h         header
	strings   arena
	relations int // so far
}

// read parses one header.
func (r *reader) read(b []byte) (*Package, error) {
	if err := r.h.parse(b); err != nil {
		return nil, err
	}
	p := &Package{}
	for _, f := range []struct {
		tag  uint32
		into *string
	}{
		{tagName, &p.Name},
		{tagVersion, &p.Version},
		{tagRelease, &p.Release},
		{tagArch, &p.Arch},
		{tagVendor, &p.Vendor},
		{tagSourceRPM, &p.Source},
		{tagModularityLabel, &p.Label},
	} {
		s, err := r.h.str(f.tag)
		if err != nil {
			return nil, err
		}
		*f.into = r.strings.put(s)
	}
	if p.Name == "" {
		return nil, errors.New("header without a name")
	}
	var epoch, built, installed, size, long int64
	for _, f := range []struct {
		tag  uint32
		into *int64
	}{{tagEpoch, &epoch}, {tagBuildTime, &built}, {tagInstallTime, &installed}, {tagSize, &size}, {tagLongSize, &long}} {
		n, _, err := r.h.num(f.tag)
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", p.Name, err)
		}
		*f.into = n
	}
	if epoch != 0 {
		p.Epoch = fmt.Sprint(epoch)
	}
	p.Built, p.Installed, p.DiskBytes = unix(built), unix(installed), max(size, long)
	for _, f := range []struct {
		name, flags, version uint32
		into                 *[]Relation
	}{
		{tagRequireName, tagRequireFlags, tagRequireVersion, &p.Requires},
		{tagProvideName, tagProvideFlags, tagProvideVersion, &p.Provides},
		{tagConflictName, tagConflictFlags, tagConflictVersion, &p.Conflicts},
		{tagObsoleteName, tagObsoleteFlags, tagObsoleteVersion, &p.Obsoletes},
	} {
		var err error
		if *f.into, err = r.readRelations(f.name, f.flags, f.version); err != nil {
			return nil, fmt.Errorf("package %s: %w", p.Name, err)
		}
	}
	return p, nil
}

// readRelations reads three arrays that belong together. What the package asks of rpm itself is left out.
func (r *reader) readRelations(name, flags, version uint32) ([]Relation, error) {
	count := int(r.h.tags[place(name)].count)
	if count == 0 {
		return nil, nil
	}
	if r.relations += count; r.relations > maxRelations {
		return nil, fmt.Errorf("%d relations: %w", r.relations, ErrTooLarge)
	}
	f, err := r.h.nums(flags)
	if err != nil {
		return nil, err
	}
	if f != nil && len(f) != 4*count {
		return nil, fmt.Errorf("header: %d names of tag %d and %d flags", count, name, len(f)/4)
	}
	if _, err := r.h.strs(name, func(int, []byte) {}); err != nil { // before memory is taken for them
		return nil, err
	}
	list := make([]Relation, 0, count)
	skipped := make([]bool, 0, 256)
	if _, err := r.h.strs(name, func(i int, s []byte) {
		rel, raw := Relation{}, uint32(0)
		if f != nil {
			raw = binary.BigEndian.Uint32(f[4*i:])
		}
		skip := raw&senseRPMLib != 0 || bytes.HasPrefix(s, []byte("rpmlib("))
		skipped = append(skipped, skip)
		if skip {
			return
		}
		rel.Name = r.strings.put(s)
		if raw&senseLess != 0 {
			rel.Sense |= Less
		}
		if raw&senseGreater != 0 {
			rel.Sense |= Greater
		}
		if raw&senseEqual != 0 {
			rel.Sense |= Equal
		}
		rel.Pre = name == tagRequireName && raw&(sensePrereq|senseScriptPre|senseScriptPost) != 0
		list = append(list, rel)
	}); err != nil {
		return nil, err
	}
	next := 0
	n, err := r.h.strs(version, func(i int, s []byte) {
		if i >= len(skipped) || skipped[i] {
			return
		}
		if len(s) > 0 {
			list[next].Epoch, list[next].Version, list[next].Release = splitEVR(r.strings.put(s))
		}
		next++
	})
	if err != nil {
		return nil, err
	}
	if n != 0 && n != count {
		return nil, fmt.Errorf("header: %d names of tag %d and %d versions", count, name, n)
	}
	return list, nil
}

// splitEVR takes "[epoch:]version[-release]" apart. An epoch of 0 is empty.
func splitEVR(s string) (epoch, version, release string) {
	if i := strings.IndexByte(s, ':'); i >= 0 && strings.Trim(s[:i], "0123456789") == "" {
		epoch, s = s[:i], s[i+1:]
		if epoch == "0" {
			epoch = ""
		}
	}
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		return epoch, s[:i], s[i+1:]
	}
	return epoch, s, ""
}

// owns calls fn with each path of the package that is in files, a map from folder (with a slash at its end) to names.
func (r *reader) owns(b []byte, files map[string]map[string]struct{}, fn func(path, name string)) error {
	if err := r.h.parse(b); err != nil {
		return err
	}
	name, err := r.h.str(tagName)
	if err != nil {
		return err
	}
	hit := func(dir, base string) {
		if _, ok := files[dir][base]; ok {
			fn(dir+base, string(name))
		}
	}
	if _, err := r.h.strs(tagOldFilenames, func(_ int, s []byte) { // packages of rpm 3
		i := bytes.LastIndexByte(s, '/') + 1
		hit(string(s[:i]), string(s[i:]))
	}); err != nil {
		return err
	}
	wanted := map[uint32]string{} // the folders of the package that files has
	if _, err := r.h.strs(tagDirnames, func(i int, s []byte) {
		if _, ok := files[string(s)]; ok {
			wanted[uint32(i)] = string(s)
		}
	}); err != nil || len(wanted) == 0 {
		return err
	}
	dirs, err := r.h.nums(tagDirIndexes)
	if err != nil {
		return err
	}
	n, err := r.h.strs(tagBasenames, func(i int, s []byte) {
		if 4*i+4 > len(dirs) {
			return
		}
		if dir, ok := wanted[binary.BigEndian.Uint32(dirs[4*i:])]; ok {
			hit(dir, string(s))
		}
	})
	if err == nil && 4*n != len(dirs) {
		err = fmt.Errorf("package %s: header: %d files in %d folders", clip(name), n, len(dirs)/4)
	}
	return err
}
