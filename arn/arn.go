// Package arn parses, validates and makes the names of resources: ARNs and the ids in them, such as
// pb-, mi- and mw- ids and command UUIDs. It is pure; randomness is given by the caller.
// Start with Parse and Resource.
package arn

import (
	"fmt"
	"strings"
)

// ARN is an Amazon Resource Name, arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE.
type ARN struct {
	Partition, Service, Region, Account, Resource string
}

// Parse reads an ARN.
func Parse(s string) (ARN, error) {
	p := strings.SplitN(s, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[1] == "" || p[2] == "" || p[5] == "" {
		return ARN{}, fmt.Errorf("%q is not an ARN", s)
	}
	if p[4] != "" && p[4] != "aws" && !IsAccount(p[4]) {
		return ARN{}, fmt.Errorf("%q is not an ARN: account %q", s, p[4])
	}
	return ARN{Partition: p[1], Service: p[2], Region: p[3], Account: p[4], Resource: p[5]}, nil
}

// String returns the ARN's text.
func (a ARN) String() string {
	return "arn:" + a.Partition + ":" + a.Service + ":" + a.Region + ":" + a.Account + ":" + a.Resource
}

// Split returns the kind and the id of the resource: "patchbaseline", "pb-…".
func (a ARN) Split() (kind, id string) {
	kind, id, _ = strings.Cut(a.Resource, "/")
	return kind, id
}

// Is reports whether s looks like an ARN.
func Is(s string) bool { return strings.HasPrefix(s, "arn:") }

// Resource returns the ARN of a Systems Manager resource; an id that is an ARN already is returned as it
// is. Documents that belong to AWS have no account; a node with an i- id is one of ec2.
func Resource(kind, id, account, region string) string {
	a := ARN{Partition: "aws", Service: "ssm", Region: region, Account: account, Resource: kind + "/" + id}
	switch {
	case Is(id):
		return id
	case kind == "document" && IsAWSDocument(id):
		a.Account = ""
	case kind == "managed-instance" && strings.HasPrefix(id, "i-"):
		a.Service, a.Resource = "ec2", "instance/"+id
	case (kind == "parameter" || kind == "servicesetting") && strings.HasPrefix(id, "/"):
		a.Resource = kind + id
	}
	return a.String()
}

// IsAWSDocument reports whether a document of this name belongs to AWS.
func IsAWSDocument(name string) bool {
	for _, p := range []string{"AWS-", "AWSSupport-", "AWSEC2-", "AWSConfigRemediation-", "AWSQuickSetup", "AmazonCloudWatch-", "AWSFIS-"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// BaselineID returns the id in s, which is a patch baseline's id or its full ARN.
func BaselineID(s string) (string, error) { return bare("patchbaseline", s, IsBaselineID) }

// BaselineARN returns the full ARN of a patch baseline.
func BaselineARN(id, account, region string) string {
	return Resource("patchbaseline", id, account, region)
}

// WindowID returns the id in s, which is a maintenance window's id or its full ARN.
func WindowID(s string) (string, error) { return bare("maintenancewindow", s, IsWindowID) }

// AssociationID returns the id in s, which is an association's id or its full ARN.
func AssociationID(s string) (string, error) { return bare("association", s, IsUUID) }

// NodeID returns the id in s, which is a managed node's id or its full ARN.
func NodeID(s string) (string, error) {
	if a, err := Parse(s); err == nil && a.Service == "ec2" {
		return bare("instance", s, IsNodeID)
	}
	return bare("managed-instance", s, IsNodeID)
}

// DocumentName returns the name in s, which is a document's name or its full ARN.
func DocumentName(s string) (string, error) {
	return bare("document", s, func(n string) bool { return n != "" })
}

func bare(kind, s string, valid func(string) bool) (string, error) {
	id := s
	if Is(s) {
		a, err := Parse(s)
		if err != nil {
			return "", err
		}
		k, rest := a.Split()
		if k != kind {
			return "", fmt.Errorf("%q is not the ARN of a %s", s, kind)
		}
		id = rest
	}
	if !valid(id) {
		return "", fmt.Errorf("%q is not a %s id", s, kind)
	}
	return id, nil
}
