package iam

import (
	"strings"
	"testing"
)

func TestDecide(t *testing.T) {
	node := Principal{Kind: Node, NodeID: "mi-1"}
	for _, tc := range []struct {
		name string
		r    Request
		want bool
	}{
		{"administrator_writes", Request{Principal: Principal{Kind: Administrator}, Action: "ssm:SendCommand"}, true},
		{"reader_reads", Request{Principal: Principal{Kind: ReadOnly}, Action: "ssm:ListCommands", ReadOnly: true}, true},
		{"reader_writes", Request{Principal: Principal{Kind: ReadOnly}, Action: "ssm:SendCommand"}, false},
		{"reader_asks_who_it_is", Request{Principal: Principal{Kind: ReadOnly}, Action: "sts:GetCallerIdentity"}, true},
		{"node_on_itself", Request{Principal: node, NodeOwn: true, NodeIDs: []string{"mi-1"}}, true},
		{"node_on_another", Request{Principal: node, NodeOwn: true, NodeIDs: []string{"mi-1", "mi-2"}}, false},
		{"node_as_operator", Request{Principal: node, Action: "ssm:SendCommand"}, false},
		{"nobody", Request{Principal: Principal{Kind: Anonymous}, ReadOnly: true}, false},
		{"zero_principal", Request{ReadOnly: true, NodeOwn: true}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := Decide(tc.r)
			if d.Allowed != tc.want || (d.Reason == "") != tc.want {
				t.Errorf("Decide(%+v) = %+v, want allowed %v", tc.r, d, tc.want)
			}
			if !tc.want && !strings.HasPrefix(d.Reason, "no identity-based policy allows the ") {
				t.Errorf("the reason is %q", d.Reason)
			}
		})
	}
}
