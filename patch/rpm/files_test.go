package rpm

import "testing"

// What rpm --checksig says, from rpm 4.11 on; only "OK" behind a signature is one.
func TestAccepted(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]bool{
		"digests signatures OK":                   true,
		"rsa sha1 (md5) pgp md5 OK":               true,
		"(sha1) dsa sha1 md5 gpg OK":              true,
		"digests OK":                              false,
		"sha1 md5 OK":                             false,
		"digests SIGNATURES NOT OK":               false,
		"RSA sha1 ((MD5) PGP) md5 NOT OK":         false,
		"(SHA1) DSA sha1 md5 (GPG) NOT OK":        false,
		"RSA SHA1 (MD5) PGP MD5 NOT OK (MISSING)": false,
		"": false,
	} {
		if got := accepted(said); got != want {
			t.Errorf("accepted(%q) = %v", said, got)
		}
	}
}
