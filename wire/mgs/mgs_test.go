package mgs

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var sample = Frame{
	Type: AgentJobAck, ID: [16]byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0x4c, 0xde, 0x8f, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd},
	Created: time.UnixMilli(1795308911064).UTC(), Payload: []byte("{}"),
}

// The layout, field by field: lengths, the padded type, milliseconds, the halves of the id the other way round, the digest.
func TestEncode(t *testing.T) {
	want := "00000074" +
		hex.EncodeToString([]byte("agent_job_ack                   ")) +
		"00000001" + "000001a200bff9d8" + "0000000000000000" + "0000000000000000" +
		"8f0123456789abcd" + "0123456789ab4cde" +
		"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" +
		"00000000" + "00000002" + "7b7d"
	if got := hex.EncodeToString(sample.Encode()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := FormatID(sample.ID), "01234567-89ab-4cde-8f01-23456789abcd"; got != want {
		t.Errorf("the id is %s, want %s", got, want)
	}
}

func TestDecode(t *testing.T) {
	got, err := Decode(sample.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample, got); d != "" {
		t.Errorf("a frame does not come back (-want +got):\n%s", d)
	}
	// A longer header, as a later version may have it, and a type padded with zeros.
	b := sample.Encode()
	long := append(append(append([]byte{}, b[:116]...), 0, 0, 0, 0), b[116:]...)
	long[3] = 120
	copy(long[4:36], append([]byte(AgentJobAck), make([]byte, 32-len(AgentJobAck))...))
	if got, err := Decode(long); err != nil || cmp.Diff(sample, got) != "" {
		t.Errorf("a longer header: %+v, %v", got, err)
	}
	for name, change := range map[string]func(b []byte) []byte{
		"empty":           func([]byte) []byte { return nil },
		"cut":             func(b []byte) []byte { return b[:119] },
		"cut payload":     func(b []byte) []byte { return b[:121] },
		"more payload":    func(b []byte) []byte { return append(b, ' ') },
		"short header":    func(b []byte) []byte { b[3] = 112; return b },
		"endless header":  func(b []byte) []byte { copy(b, "\xff\xff\xff\xff"); return b },
		"endless payload": func(b []byte) []byte { copy(b[116:], "\xff\xff\xff\xff"); return b },
		"other payload":   func(b []byte) []byte { b[120] = '['; return b },
	} {
		if _, err := Decode(change(sample.Encode())); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sample.Encode())
	f.Add(sample.Encode()[:120])
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(d.Encode())
		if err != nil || again.Type != d.Type || again.ID != d.ID || !bytes.Equal(again.Payload, d.Payload) {
			t.Errorf("%+v became %+v, %v", d, again, err)
		}
	})
}
