//! The Azure Resource Manager of the test kit, held to what Azure publishes; and the management of
//! storage accounts of `tenantry-blob`, held to that server. All of it is in `tests/`.
