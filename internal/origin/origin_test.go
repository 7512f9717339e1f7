package origin

import (
	"errors"
	"testing"
)

func TestFill(t *testing.T) {
	some := func() (map[string]string, error) {
		return map[string]string{"oakum-linux-amd64": "aa", "oakum-linux-386": "bb"}, nil
	}
	const text = "'@OAKUM_ENDPOINT@' '@OAKUM_SHA256_AMD64@' '@OAKUM_SHA256_ARM64@' '@OAKUM_SHA256_ARM@' '@OAKUM_SHA256_386@'"
	for _, c := range []struct{ address, text, want string }{
		{"https://oakum.example:8443", text, "'https://oakum.example:8443' 'aa' '' '' 'bb'"},
		{"https://[::1]:1", text, "'https://[::1]:1' 'aa' '' '' 'bb'"},
		{"", text, "'' 'aa' '' '' 'bb'"},
		{"https://x';reboot;'", text, "'' 'aa' '' '' 'bb'"},
		{"https://x\"", text, "'' 'aa' '' '' 'bb'"},
		{"https://x", "nothing of it", "nothing of it"},
	} {
		got, err := Fill(With(t.Context(), c.address), c.text, some)
		if err != nil || got != c.want {
			t.Errorf("at %q: %s, %v, want %s", c.address, got, err, c.want)
		}
	}
	broken := func() (map[string]string, error) { return nil, errors.New("disk") }
	if _, err := Fill(t.Context(), text, broken); err == nil {
		t.Error("programs that cannot be read are passed over")
	}
	if got, err := Fill(t.Context(), "plain", broken); err != nil || got != "plain" {
		t.Errorf("a document that asks for nothing: %q, %v", got, err)
	}
}

func TestAWSAgentConfig(t *testing.T) {
	got, err := AWSAgentConfig("https://oakum.example:8443/")
	const want = `{
  "Ssm": {
    "Endpoint": "https://oakum.example:8443"
  },
  "Mds": {
    "Endpoint": "https://oakum.example:8443"
  },
  "Mgs": {
    "Endpoint": "https://oakum.example:8443"
  },
  "S3": {
    "Endpoint": "https://oakum.example:8443"
  },
  "Kms": {
    "Endpoint": "https://oakum.example:8443"
  },
  "Identity": {
    "ConsumptionOrder": [
      "OnPrem"
    ]
  }
}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
	for _, address := range []string{"", "oakum.example", "ftp://x", "https://", "https://x/y"} {
		if b, err := AWSAgentConfig(address); err == nil {
			t.Errorf("%q gave %s", address, b)
		}
	}
}
