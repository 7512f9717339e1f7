package account

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"oakum.dev/patch/journal"
)

// masterKeySize is the length of the installation's root key in bytes.
const masterKeySize = 32

// LoadMasterKey reads DIR/master.key. A missing one is made only when create says that there is no data that
// an earlier key sealed; otherwise its absence is a hard stop. The file is left out of copies made by backup.
func LoadMasterKey(dir string, create bool, random io.Reader) (key []byte, made bool, err error) {
	path := filepath.Join(dir, "master.key")
	key, err = os.ReadFile(path)
	switch {
	case err == nil && len(key) != masterKeySize:
		return nil, false, fmt.Errorf("%s holds %d bytes instead of %d", path, len(key), masterKeySize)
	case err == nil:
		return key, false, nil
	case !errors.Is(err, os.ErrNotExist):
		return nil, false, fmt.Errorf("read the master key: %w", err)
	case !create:
		return nil, false, fmt.Errorf("%s is missing: the database holds secrets sealed with it; put the file back", path)
	}
	key = make([]byte, masterKeySize)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, false, fmt.Errorf("make the master key: %w", err)
	}
	// Whole and synced before anything is sealed with it: a crash leaves no key or this one.
	if err := journal.WriteFile(path, key, 0o400); err != nil {
		return nil, false, fmt.Errorf("make the master key: %w", err)
	}
	return key, true, nil
}

// seal encrypts plain under a key that is derived for this one record. The aad names the record, so that a
// sealed value moved to another row does not open.
func seal(key, plain []byte, aad string, random io.Reader) ([]byte, error) {
	salt := make([]byte, 32)
	if _, err := io.ReadFull(random, salt); err != nil {
		return nil, err
	}
	gcm, err := recordCipher(key, salt, aad)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, gcm.NonceSize())
	if _, err := io.ReadFull(random, nonce); err != nil {
		return nil, err
	}
	out := append([]byte{1}, salt...)
	out = append(out, nonce...)
	return gcm.Seal(out, nonce, plain, []byte(aad)), nil
}

func unseal(key, sealed []byte, aad string) ([]byte, error) {
	if len(sealed) < 1+32+12 || sealed[0] != 1 {
		return nil, errors.New("sealed value is damaged")
	}
	gcm, err := recordCipher(key, sealed[1:33], aad)
	if err != nil {
		return nil, err
	}
	n := gcm.NonceSize()
	return gcm.Open(nil, sealed[33:33+n], sealed[33+n:], []byte(aad))
}

func recordCipher(key, salt []byte, info string) (cipher.AEAD, error) {
	k, err := hkdf.Key(sha256.New, key, salt, info, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
