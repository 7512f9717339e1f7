package api_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestCLI(t *testing.T) {
	aws, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("no aws command in PATH")
	}
	if testing.Short() {
		t.Skip("starts the AWS CLI")
	}
	b := start(t, baselineHandlers())
	for _, tc := range []struct {
		args string
		ok   bool
		want string
	}{
		{"ssm get-patch-baseline --baseline-id pb-0123456789abcdef0 --query GlobalFilters", true, `"PatchFilters": []`},
		{"ssm get-patch-baseline --baseline-id pb-0000000000000000f", false, "An error occurred (DoesNotExistException) when calling the GetPatchBaseline operation: Patch Baseline to be retrieved does not exist."},
		{"ssm create-patch-baseline --name web --approved-patches A,B --tags Key=k,Value=v", true, `"BaselineId": "pb-0123456789abcdef0"`},
		{"ssm create-patch-baseline --name web --operating-system BEOS", false, "Member must satisfy enum value set: [WINDOWS, AMAZON_LINUX, "},
		{"ssm list-documents", false, "UnknownOperationException"},
		{"sts get-caller-identity", true, `"Account": "000000000001"`},
	} {
		t.Run(tc.args, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), aws, append([]string{"--endpoint-url", b.url, "--region", "us-east-1"}, strings.Fields(tc.args)...)...)
			cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+adminKey, "AWS_SECRET_ACCESS_KEY="+secret, "AWS_CONFIG_FILE=/dev/null",
				"AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true", "NO_PROXY=127.0.0.1")
			out, err := cmd.CombinedOutput()
			if (err == nil) != tc.ok || !strings.Contains(string(out), tc.want) {
				t.Errorf("aws %s: %v\n%s\nwant %q", tc.args, err, out, tc.want)
			}
		})
	}
}
