package origin

import (
	"encoding/json"
	"fmt"
	"net/url"
)

// AWSAgentConfig is the smallest /etc/amazon/ssm/amazon-ssm-agent.json by which amazon-ssm-agent finds a server: all services at
// one address, and no look for an instance's metadata. The control channel's member needs the scheme where there is a port;
// that of KMS is there so that nothing is sent to AWS.
func AWSAgentConfig(address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("the address %q must look like https://HOST[:PORT]", address)
	}
	type endpoint struct{ Endpoint string }
	at := endpoint{u.Scheme + "://" + u.Host}
	return json.MarshalIndent(struct {
		Ssm, Mds, Mgs, S3, Kms endpoint
		Identity               struct{ ConsumptionOrder []string }
	}{at, at, at, at, at, struct{ ConsumptionOrder []string }{[]string{"OnPrem"}}}, "", "  ")
}
