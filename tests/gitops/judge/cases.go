package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"time"

	"sigs.k8s.io/yaml"
)

// A kind's health_test.yaml.
type healthTests struct {
	Tests []struct {
		HealthStatus verdict `json:"healthStatus"`
		InputPath    string  `json:"inputPath"`
	} `json:"tests"`
}

// A kind's actions/action_test.yaml.
type actionTests struct {
	DiscoveryTests []struct {
		InputPath string   `json:"inputPath"`
		Result    []action `json:"result"`
	} `json:"discoveryTests"`
	ActionTests []struct {
		Action             string `json:"action"`
		InputPath          string `json:"inputPath"`
		ExpectedOutputPath string `json:"expectedOutputPath"`
	} `json:"actionTests"`
}

type action struct {
	Name        string `json:"name"`
	Disabled    bool   `json:"disabled"`
	DisplayName string `json:"displayName,omitempty"`
	IconClass   string `json:"iconClass,omitempty"`
}

// When the actions were done, in files: what they write is held against the clock, and then replaced by this.
const someTime = "2026-01-01T00:00:00Z"

var timed = []string{"scopedsecrets.io/refresh-at", "scopedsecrets.io/rotate-at"}

// cases runs every health_test.yaml and action_test.yaml below the folder; the names of the cases.
func (c customizations) cases() ([]string, error) {
	var passed []string
	err := filepath.WalkDir(string(c), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var more []string
		switch entry.Name() {
		case "health_test.yaml":
			more, err = c.healthCases(path)
		case "action_test.yaml":
			more, err = c.actionCases(path)
		}
		passed = append(passed, more...)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	})
	if err == nil && len(passed) == 0 {
		err = errors.New("there is no case")
	}
	return passed, err
}

func (c customizations) healthCases(path string) ([]string, error) {
	var tests healthTests
	if err := read(path, &tests); err != nil {
		return nil, err
	}
	var passed []string
	for _, test := range tests.Tests {
		input := filepath.Join(filepath.Dir(path), test.InputPath)
		var live object
		if err := read(input, &live); err != nil {
			return nil, err
		}
		found, err := c.health(live)
		if err != nil {
			return nil, err
		}
		if found == nil || *found != test.HealthStatus {
			return nil, fmt.Errorf("%s: found %+v, expected %+v", test.InputPath, found, test.HealthStatus)
		}
		passed = append(passed, "health "+input)
	}
	return passed, nil
}

func (c customizations) actionCases(path string) ([]string, error) {
	var tests actionTests
	if err := read(path, &tests); err != nil {
		return nil, err
	}
	folder := filepath.Dir(path)
	var passed []string
	for _, test := range tests.DiscoveryTests {
		var live object
		if err := read(filepath.Join(folder, test.InputPath), &live); err != nil {
			return nil, err
		}
		found, err := discover(filepath.Join(folder, "discovery.lua"), live)
		if err != nil {
			return nil, err
		}
		if !reflect.DeepEqual(found, test.Result) {
			return nil, fmt.Errorf("%s: found %+v, expected %+v", test.InputPath, found, test.Result)
		}
		passed = append(passed, "discovery "+test.InputPath)
	}
	for _, test := range tests.ActionTests {
		var live, expected object
		if err := errors.Join(read(filepath.Join(folder, test.InputPath), &live),
			read(filepath.Join(folder, test.ExpectedOutputPath), &expected)); err != nil {
			return nil, err
		}
		found, err := actNow(filepath.Join(folder, test.Action, "action.lua"), live)
		if err != nil {
			return nil, err
		}
		if !reflect.DeepEqual(found, expected) {
			told, _ := json.Marshal(found)
			return nil, fmt.Errorf("%s on %s: found %s, expected %s", test.Action, test.InputPath, told, test.ExpectedOutputPath)
		}
		passed = append(passed, test.Action+" "+test.InputPath)
	}
	return passed, nil
}

// discover is what Argo CD offers to do with an object, by name.
func discover(script string, live object) ([]action, error) {
	told, err := run(script, live)
	if err != nil {
		return nil, err
	}
	// An empty table is an empty array.
	if string(told) == "[]" {
		return nil, nil
	}
	var offered map[string]json.RawMessage
	if err := json.Unmarshal(told, &offered); err != nil {
		return nil, err
	}
	var actions []action
	for name, raw := range offered {
		each := action{Name: name}
		if string(raw) != "[]" {
			if err := json.Unmarshal(raw, &each); err != nil {
				return nil, err
			}
		}
		actions = append(actions, each)
	}
	sort.Slice(actions, func(a, b int) bool { return actions[a].Name < actions[b].Name })
	return actions, nil
}

// act is the object after an action.
func act(script string, live object) (object, error) {
	told, err := run(script, live)
	if err != nil {
		return nil, err
	}
	var after object
	if err := json.Unmarshal(told, &after); err != nil {
		return nil, err
	}
	restoreEmpty(after, live)
	return after, nil
}

// actNow is the object after an action, where times of now are [someTime].
func actNow(script string, live object) (object, error) {
	// Scripts know whole seconds.
	before := time.Now().UTC().Truncate(time.Second)
	after, err := act(script, live)
	if err != nil {
		return nil, err
	}
	metadata, _ := after["metadata"].(object)
	annotations, _ := metadata["annotations"].(object)
	for _, name := range timed {
		at, err := time.Parse(time.RFC3339, text(annotations[name]))
		if err == nil && !at.Before(before) && !at.After(time.Now()) {
			annotations[name] = someTime
		}
	}
	return after, nil
}

// restoreEmpty puts back what Lua cannot tell apart: an empty object became an empty array.
func restoreEmpty(after, before object) {
	for name, was := range before {
		was, ok := was.(object)
		if !ok {
			continue
		}
		switch is := after[name].(type) {
		case object:
			restoreEmpty(is, was)
		case []any:
			if len(is) == 0 {
				after[name] = was
			}
		}
	}
}

func read(path string, into any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
