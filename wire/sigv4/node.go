package sigv4

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// nodeHeaders are what a node's signer signs; X-Amz-Content-Sha256 is sent unsigned.
var nodeHeaders = []string{"content-type", "host", "x-amz-date", "x-amz-target"}

var pss = &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}

// SignNode signs r as managed node nodeID with its own key: a SigV4 header whose signature is the base64
// of RSASSA-PSS with SHA-256 and a salt of 32 bytes over the string to sign. r must have Content-Type
// and X-Amz-Target.
func SignNode(rand io.Reader, r *http.Request, payloadHash, nodeID, region string, key *rsa.PrivateKey, now time.Time) error {
	scope := NewScope(now, region, "ssm")
	prepare(r, now, "")
	r.Header.Set("X-Amz-Content-Sha256", payloadHash)
	m := FromRequest(r)
	m.SignedHeaders, m.PayloadHash = nodeHeaders, payloadHash
	sum := sha256.Sum256([]byte(StringToSign(now, scope, m.Canonical(Raw))))
	sig, err := rsa.SignPSS(rand, key, crypto.SHA256, sum[:], pss)
	if err != nil {
		return fmt.Errorf("sign as node %s: %w", nodeID, err)
	}
	authorize(r, nodeID, scope, m.SignedHeaders, base64.StdEncoding.EncodeToString(sig))
	return nil
}

var errNodeKey = errors.New("not an RSA public key of 2048 to 4096 bits in PKIX form")

// ParseNodeKey reads a node's public key: DER of a SubjectPublicKeyInfo, RSA of 2048 to 4096 bits.
func ParseNodeKey(der []byte) (*rsa.PublicKey, error) {
	k, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errNodeKey
	}
	pub, ok := k.(*rsa.PublicKey)
	if !ok || pub.N.BitLen() < 2048 || pub.N.BitLen() > 4096 {
		return nil, errNodeKey
	}
	return pub, nil
}

// VerifyNode reports whether signature, in base64, is a node's signature of stringToSign.
func VerifyNode(pub *rsa.PublicKey, stringToSign, signature string) bool {
	sig, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return false
	}
	sum := sha256.Sum256([]byte(stringToSign))
	return rsa.VerifyPSS(pub, crypto.SHA256, sum[:], sig, pss) == nil
}
