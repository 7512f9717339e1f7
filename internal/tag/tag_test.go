package tag

import (
	"testing"

	"oakum.dev/awserr"
	"oakum.dev/wire/ssm"
)

func TestKeysOfAWSAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key string
		ok  bool
	}{
		{"Patch Group", true}, {"aws", true}, {"awsome:x", true}, {"my-aws:x", true}, {"aws:cloudformation:stack-name", false}, {"AWS:x", false}, {"aws:", false},
	} {
		err := Check([]ssm.Tag{{Key: new("fine")}, {Key: &c.key}})
		if (err == nil) != c.ok || (err != nil && awserr.Code(err) != "ValidationException") {
			t.Errorf("Check(%q) = %v, want ok = %v", c.key, err, c.ok)
		}
	}
	if err := Check([]ssm.Tag{{}}); err != nil {
		t.Errorf("Check of a tag without a key = %v", err)
	}
}
