"""TEMPORARY stand-in, to be overwritten."""
import torch
from torch import nn
import torch.nn.functional as F
class VisibleDistribution(nn.Module):
    def __init__(self, num_units):
        super().__init__(); self.num_units=num_units; self.num_parameters=num_units
    def log_prob(self, v, a): return self.unit_log_prob(v,a).sum(-1)
class Spins(VisibleDistribution):
    def unit_log_prob(self,v,a): return F.logsigmoid(2*a*v)
    def sample(self,a,generator=None):
        u=torch.rand(a.shape,dtype=a.dtype,generator=generator); return torch.where(u<torch.sigmoid(2*a),1.,-1.).to(a.dtype)
    def mean(self,a): return torch.tanh(a)
class OneHot(VisibleDistribution):
    def unit_log_prob(self,v,a): return (v+1)/2*torch.log_softmax(a,-1)
    def sample(self,a,generator=None):
        return 2*F.one_hot(torch.distributions.Categorical(logits=a).sample(),self.num_units).to(a.dtype)-1
    def mean(self,a): return 2*torch.softmax(a,-1)-1
class ContinuousSpins(VisibleDistribution):
    def unit_log_prob(self,v,a):
        b=a.abs()+1e-3
        return a*v-(b+torch.log1p(-torch.exp(-2*b))-torch.log(b))
    def sample(self,a,generator=None):
        u=torch.rand_like(a); b=a.abs()+1e-3
        return (torch.sign(a)*(1+torch.log(u+(1-u)*torch.exp(-2*b))/b)).clamp(-1,1)
    def mean(self,a):
        b=a.abs()+1e-3; return torch.sign(a)*(1/torch.tanh(b)-1/b)
class DiscretizedLogistic(VisibleDistribution): pass
class Concatenated(VisibleDistribution):
    def __init__(self,parts):
        super().__init__(sum(p.num_units for p in parts)); self.parts=nn.ModuleList(parts); self.num_parameters=sum(p.num_parameters for p in parts)
    def _s(self,v,a): return zip(self.parts,v.split([p.num_units for p in self.parts],-1),a.split([p.num_parameters for p in self.parts],-1))
    def unit_log_prob(self,v,a): return torch.cat([p.unit_log_prob(x,y) for p,x,y in self._s(v,a)],-1)
    def log_prob(self,v,a): return sum(p.log_prob(x,y) for p,x,y in self._s(v,a))
    def sample(self,a,generator=None): return torch.cat([p.sample(y) for p,y in zip(self.parts,a.split([p.num_parameters for p in self.parts],-1))],-1)
    def mean(self,a): return torch.cat([p.mean(y) for p,y in zip(self.parts,a.split([p.num_parameters for p in self.parts],-1))],-1)
