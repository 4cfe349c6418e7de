package main

import "testing"

// A log of containerd 1.6, of two pods at once.
const containerdLog = `time="2026-11-26T03:45:42.100000000Z" level=info msg="RunPodSandbox for &PodSandboxMetadata{Name:other-00001-deployment-1-a,Uid:1,Namespace:default,Attempt:0,}"
time="2026-11-26T03:45:42.492687839Z" level=info msg="RunPodSandbox for &PodSandboxMetadata{Name:text-orient-00001-deployment-96fb84895-vsfs2,Uid:e3561579,Namespace:default,Attempt:0,}"
time="2026-11-26T03:45:42.651022943Z" level=info msg="loading plugin \"io.containerd.internal.v1.shutdown\"..." runtime=io.containerd.runc.v2
time="2026-11-26T03:45:42.700000000Z" level=info msg="RunPodSandbox for &PodSandboxMetadata{Name:other-00001-deployment-1-a,Uid:1,Namespace:default,Attempt:0,} returns sandbox id \"0ther\""
time="2026-11-26T03:45:42.710000000Z" level=info msg="CreateContainer within sandbox \"0ther\" for container &ContainerMetadata{Name:function,Attempt:0,}"
time="2026-11-26T03:45:42.787168353Z" level=info msg="RunPodSandbox for &PodSandboxMetadata{Name:text-orient-00001-deployment-96fb84895-vsfs2,Uid:e3561579,Namespace:default,Attempt:0,} returns sandbox id \"fc6f\""
time="2026-11-26T03:45:42.813744947Z" level=info msg="CreateContainer within sandbox \"fc6f\" for container &ContainerMetadata{Name:function,Attempt:0,}"
time="2026-11-26T03:45:42.837135665Z" level=info msg="CreateContainer within sandbox \"fc6f\" for &ContainerMetadata{Name:function,Attempt:0,} returns container id \"f997\""
time="2026-11-26T03:45:42.838994973Z" level=info msg="StartContainer for \"f997\""
time="2026-11-26T03:45:43.011975249Z" level=info msg="StartContainer for \"f997\" returns successfully"
time="2026-11-26T03:45:43.045643616Z" level=info msg="CreateContainer within sandbox \"fc6f\" for container &ContainerMetadata{Name:queue-proxy,Attempt:0,}"
time="2026-11-26T03:45:43.062199593Z" level=info msg="CreateContainer within sandbox \"fc6f\" for &ContainerMetadata{Name:queue-proxy,Attempt:0,} returns container id \"7fc3\""
time="2026-11-26T03:45:43.275143857Z" level=info msg="StartContainer for \"7fc3\" returns successfully"
`

func TestMomentsOfContainerdsLog(t *testing.T) {
	t.Parallel()
	got := momentsOf(containerdLog, "text-orient")
	for i, want := range []string{"42.492", "42.787", "42.813", "43.011", "43.275"} {
		if at := got[i].Format("05.000"); at != want {
			t.Errorf("moment %d: %s, want %s", i, at, want)
		}
	}
	if none := momentsOf(containerdLog, "speech-detect"); none != (containerMoments{}) {
		t.Errorf("of another service: %v", none)
	}
}
