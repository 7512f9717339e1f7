package arn

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// hexID is the length of the random part of ids such as pb-0123456789abcdef0.
const hexID = 17

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isID(s, prefix string) bool {
	rest, ok := strings.CutPrefix(s, prefix)
	return ok && len(rest) == hexID && isHex(rest)
}

// IsBaselineID reports whether s is pb- and 17 hex digits.
func IsBaselineID(s string) bool { return isID(s, "pb-") }

// IsWindowID reports whether s is mw- and 17 hex digits.
func IsWindowID(s string) bool { return isID(s, "mw-") }

// IsHybridNodeID reports whether s is mi- and 17 hex digits.
func IsHybridNodeID(s string) bool { return isID(s, "mi-") }

// IsNodeID reports whether s is a managed node's id: mi- and 17 hex digits, or i- and 8 or 17.
func IsNodeID(s string) bool {
	if rest, ok := strings.CutPrefix(s, "i-"); ok {
		return (len(rest) == 8 || len(rest) == hexID) && isHex(rest)
	}
	return IsHybridNodeID(s)
}

// IsAccount reports whether s is a 12-digit account id.
func IsAccount(s string) bool {
	if len(s) != 12 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// IsUUID reports whether s is a UUID in lower-case text form.
func IsUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if !isHex(s[i : i+1]) {
				return false
			}
		}
	}
	return true
}

func mint(rand io.Reader, prefix string) (string, error) {
	var b [9]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	return prefix + hex.EncodeToString(b[:])[:hexID], nil
}

// NewBaselineID makes a patch baseline's id from random bytes.
func NewBaselineID(rand io.Reader) (string, error) { return mint(rand, "pb-") }

// NewWindowID makes a maintenance window's id from random bytes.
func NewWindowID(rand io.Reader) (string, error) { return mint(rand, "mw-") }

// NewHybridNodeID makes a managed node's id from random bytes.
func NewHybridNodeID(rand io.Reader) (string, error) { return mint(rand, "mi-") }

// NewUUID makes a version 4 UUID, the form of command, activation and request ids.
func NewUUID(rand io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}

const keyAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

// NewAccessKeyID makes an access key id: AKIA, or ASIA for a temporary key, and 16 characters.
func NewAccessKeyID(rand io.Reader, temporary bool) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	for i := range b {
		b[i] = keyAlphabet[b[i]&31]
	}
	if temporary {
		return "ASIA" + string(b[:]), nil
	}
	return "AKIA" + string(b[:]), nil
}
