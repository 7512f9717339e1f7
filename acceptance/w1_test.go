//go:build linux

package acceptance

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Journey W1: the first node.
func TestW1FirstNode(t *testing.T) {
	n := newDebNode(t, "first")
	engines(t, func(t *testing.T, s *installation) {
		n.t = t
		state := "/var/lib/oakum-" + strings.ReplaceAll(t.Name(), "/", "-")
		// 1
		act := s.aws("ssm", "create-activation", "--default-instance-name", "web", "--iam-role", "service-role/SSMRole", "--registration-limit", "5",
			"--tags", "Key=PatchGroup,Value=web")
		if len(act.at("ActivationId").String()) != 36 || len(act.at("ActivationCode").String()) < 20 {
			t.Errorf("create-activation = %v", act)
		}
		// 2
		a := n.mustRegister(s, act, state)
		a.start(t)
		// 3
		list := s.online(1)
		i := list.at("InstanceInformationList", 0)
		i.is("InstanceId", a.id, "PingStatus", "Online", "PlatformType", "Linux", "PlatformName", "Debian GNU/Linux", "PlatformVersion", "12",
			"ActivationId", act.at("ActivationId"), "IamRole", "service-role/SSMRole", "ResourceType", "ManagedInstance",
			"SourceType", "AWS::SSM::ManagedInstance", "ComputerName", "w-first", "Name", "web")
		for _, m := range []string{"AgentVersion", "IPAddress"} {
			if i.at(m).String() == "" {
				t.Errorf("%s is empty", m)
			}
		}
		// 4
		same := s.aws("ssm", "describe-instance-information", "--instance-information-filter-list", "key=InstanceIds,valueSet="+a.id)
		same.at("InstanceInformationList", 0).is("InstanceId", a.id)
		// 5
		s.aws("ssm", "list-tags-for-resource", "--resource-type", "ManagedInstance", "--resource-id", a.id).at("TagList", 0).is("Key", "PatchGroup", "Value", "web")
		// 6
		s.aws("ssm", "describe-activations").at("ActivationList", 0).is("RegistrationsCount", 1, "Expired", false)
		// 7
		for k := range 4 {
			n.mustRegister(s, act, fmt.Sprint(state, "-", k))
		}
		if _, out, err := n.register(s, act, state+"-more"); err == nil || !strings.Contains(out, "RegistrationLimitExceeded") && !strings.Contains(out, "as many nodes") {
			t.Errorf("the sixth registration = %v\n%s", err, out)
		}
		soon := time.Now().Add(4 * time.Second)
		short := s.aws("ssm", "create-activation", "--iam-role", "r", "--expiration-date", fmt.Sprint(soon.Unix()))
		eventually(t, "the activation expires", 10*time.Second, func() bool { return time.Now().After(soon.Add(time.Second)) })
		if _, out, err := n.register(s, short, state+"-late"); err == nil || !strings.Contains(out, "expired") {
			t.Errorf("a registration with an expired activation = %v\n%s", err, out)
		}
		cmd := s.aws("ssm", "send-command", "--document-name", "AWS-RunShellScript", "--instance-ids", a.id, "--parameters", `commands=["true"]`)
		id := cmd.at("Command", "CommandId").String()
		s.commandEnd(id, 30*time.Second).is("Status", "Success")
		// 8
		if out := s.aws("ssm", "deregister-managed-instance", "--instance-id", a.id); len(out.v.(map[string]any)) != 0 {
			t.Errorf("deregister-managed-instance = %v", out)
		}
		if n := s.aws("ssm", "describe-instance-information", "--filters", "Key=PingStatus,Values=Online").at("InstanceInformationList").len(); n != 0 {
			t.Errorf("%d nodes are online after deregistration", n)
		}
		eventually(t, "the agent notices that it was refused", 30*time.Second, func() bool {
			log := a.log.String()
			return strings.Contains(log, "refused") || strings.Contains(log, "UnrecognizedClient") || strings.Contains(log, "deregistered")
		})
		if a.cmd.ProcessState != nil {
			t.Error("the refused agent ended: it should back off")
		}
		s.aws("ssm", "list-command-invocations", "--command-id", id).at("CommandInvocations", 0).is("InstanceId", a.id, "Status", "Success")
		s.refused("InvalidInstanceId", "ssm", "deregister-managed-instance", "--instance-id", a.id)
	})
}
