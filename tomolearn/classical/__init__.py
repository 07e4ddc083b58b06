from tomolearn.classical.fbp import fbp
__all__=["fbp"]
