// Fields that are newer than Debian's packages (Kubernetes 1.32), in the language of those: without them clients that know more than Debian
// would lose what they send. From Kubernetes 1.36; facts only. A message that is there already gets the fields added.
export const newerFields = [
  `
package k8s.io.api.core.v1;

message Container {
  repeated ContainerRestartRule restartPolicyRules = 25;
}
message ContainerExtendedResourceRequest {
  optional string containerName = 1;
  optional string resourceName = 2;
  optional string requestName = 3;
}
message ContainerRestartRule {
  optional string action = 1;
  optional ContainerRestartRuleOnExitCodes exitCodes = 2;
}
message ContainerRestartRuleOnExitCodes {
  optional string operator = 1;
  repeated int32 values = 2;
}
message EnvVarSource {
  optional FileKeySelector fileKeyRef = 5;
}
message EphemeralContainerCommon {
  repeated ContainerRestartRule restartPolicyRules = 25;
}
message FileKeySelector {
  optional string volumeName = 1;
  optional string path = 2;
  optional string key = 3;
  optional bool optional = 4;
}
message ImageVolumeStatus {
  optional string imageRef = 1;
}
message Lifecycle {
  optional string stopSignal = 3;
}
message PodCertificateProjection {
  optional string signerName = 1;
  optional string keyType = 2;
  optional int32 maxExpirationSeconds = 3;
  optional string credentialBundlePath = 4;
  optional string keyPath = 5;
  optional string certificateChainPath = 6;
  map<string, string> userAnnotations = 7;
}
message PodCondition {
  optional int64 observedGeneration = 7;
}
message PodExtendedResourceClaimStatus {
  repeated ContainerExtendedResourceRequest requestMappings = 1;
  optional string resourceClaimName = 2;
}
message PodSpec {
  optional string hostnameOverride = 41;
}
message PodStatus {
  optional int64 observedGeneration = 17;
  optional PodExtendedResourceClaimStatus extendedResourceClaimStatus = 18;
  map<string, .k8s.io.apimachinery.pkg.api.resource.Quantity> allocatedResources = 19;
  optional ResourceRequirements resources = 20;
}
message ResourceHealth {
  optional string message = 6;
}
message VolumeMountStatus {
  optional VolumeStatus volumeStatus = 5;
}
message VolumeProjection {
  optional PodCertificateProjection podCertificate = 6;
}
message VolumeStatus {
  optional ImageVolumeStatus image = 1;
}
`,
  `
package k8s.io.api.networking.v1;

message IPAddress {
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 1;
  optional IPAddressSpec spec = 2;
}
message IPAddressSpec {
  optional ParentReference parentRef = 1;
}
message ParentReference {
  optional string group = 1;
  optional string resource = 2;
  optional string namespace = 3;
  optional string name = 4;
}
message ServiceCIDR {
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 1;
  optional ServiceCIDRSpec spec = 2;
  optional ServiceCIDRStatus status = 3;
}
message ServiceCIDRSpec {
  repeated string cidrs = 1;
}
message ServiceCIDRStatus {
  repeated .k8s.io.apimachinery.pkg.apis.meta.v1.Condition conditions = 1;
}
`,
  `
package k8s.io.api.storage.v1;

message VolumeAttributesClass {
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 1;
  optional string driverName = 2;
  map<string, string> parameters = 3;
}
message VolumeError {
  optional int32 errorCode = 3;
}
`,
];
