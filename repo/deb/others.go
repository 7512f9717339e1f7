package deb

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// Other counts packages that are not wanted and stand in the same lists with the same facts.
type Other struct {
	In    []ListFact
	Count int
}

// ListFact is a fact as one list states it.
type ListFact struct {
	List int
	Fact Fact
}

// Others counts the packages of the scanned lists whose names are not in Want. Scan with Index set must have been
// called before. arch gives lists of other architectures than the native one a number that is not 0: a package there is
// another one.
func (l *Lists) Others(arch func(list int) int) []Other {
	want := make(map[uint64]struct{}, len(l.Want))
	for n := range l.Want {
		want[hash([]byte(n))] = struct{}{}
	}
	type row struct {
		hash       uint64
		list, fact uint16
	}
	n := 0
	for _, m := range l.marks {
		if m.fact != provided {
			n++
		}
	}
	rows := make([]row, 0, n)
	for _, m := range l.marks {
		if _, ok := want[m.hash]; ok || m.fact == provided {
			continue
		}
		h := m.hash
		if a := arch(int(m.list)); a != 0 && !l.facts[m.fact].All {
			h ^= uint64(a) * 0x9e3779b97f4a7c15
		}
		rows = append(rows, row{h, m.list, m.fact})
	}
	slices.SortFunc(rows, func(a, b row) int {
		if a.hash != b.hash { // nearly always; there are tens of thousands of rows
			return cmp.Compare(a.hash, b.hash)
		}
		return cmp.Or(cmp.Compare(a.list, b.list), cmp.Compare(a.fact, b.fact))
	})
	index := map[string]int{}
	var out []Other
	var key []byte
	for i := 0; i < len(rows); {
		key = key[:0]
		k := i
		for ; k < len(rows) && rows[k].hash == rows[i].hash; k++ {
			if k == i || rows[k] != rows[k-1] {
				key = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(key, rows[k].list), rows[k].fact)
			}
		}
		at, ok := index[string(key)]
		if !ok {
			at = len(out)
			index[string(key)] = at
			o := Other{}
			for b := key; len(b) > 0; b = b[4:] {
				o.In = append(o.In, ListFact{int(binary.LittleEndian.Uint16(b)), l.facts[binary.LittleEndian.Uint16(b[2:])]})
			}
			out = append(out, o)
		}
		out[at].Count++
		i = k
	}
	return out
}
